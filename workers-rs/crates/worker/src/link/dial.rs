//! Connecting, TLS and signing in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use data_encoding::BASE64URL_NOPAD;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::address::{Address, Identity};
use super::parse::{Info, Operation, next};
use super::stream::{Reader, Writer};
use super::{other, tls::Tls};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for what is read at once.
pub(super) const BUFFER: usize = 64 * 1024;

/// Finds a broker that takes us.
pub(super) struct Dialer {
    /// Those that were configured, and those that the broker told of.
    addresses: Mutex<Vec<Address>>,
    identity: Identity,
    tls: Tls,
    name: String,
}

/// A connection that stands.
pub(super) struct Connected {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) info: Info,
    /// What was read and not yet looked at.
    pub(super) buffer: BytesMut,
}

impl Dialer {
    pub(super) fn new(addresses: Vec<Address>, identity: Identity, tls: Tls, name: String) -> Self {
        Self {
            addresses: Mutex::new(addresses),
            identity,
            tls,
            name,
        }
    }

    /// Tries every address once, beginning with another one at each `attempt`.
    ///
    /// # Errors
    /// The reason why the last one failed.
    pub(super) async fn dial(&self, attempt: usize) -> io::Result<Connected> {
        let addresses = self.addresses.lock().clone();
        let mut failure = other("no address of a broker is known");
        for index in 0..addresses.len() {
            let address = &addresses[(attempt + index) % addresses.len()];
            let attempt = tokio::time::timeout(PATIENCE, self.one(address)).await;
            match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(connected) => {
                    self.learn(&connected.info, address);
                    return Ok(connected);
                }
                Err(error) => {
                    failure = other(format!("{}:{}: {error}", address.host, address.port));
                }
            }
        }
        Err(failure)
    }

    /// Notes the other brokers of the cluster.
    fn learn(&self, info: &Info, from: &Address) {
        let mut addresses = self.addresses.lock();
        for url in &info.connect_urls {
            // What cannot be read cannot be used; there are the others.
            let Ok(address) = Address::parse(url) else {
                continue;
            };
            let address = Address {
                tls: from.tls,
                ..address
            };
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }

    async fn one(&self, address: &Address) -> io::Result<Connected> {
        let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::with_capacity(BUFFER);
        let info = match self.operation(&mut stream, &mut buffer).await? {
            Operation::Info(info) => *info,
            other_operation => {
                return Err(other(format!("the broker began with {other_operation:?}")));
            }
        };
        let wanted = address.tls || info.tls_required || self.tls.is_required();
        if wanted {
            let name = ServerName::try_from(address.host.clone())
                .map_err(|error| other(error.to_string()))?;
            let connector = self.tls.connector().map_err(other)?;
            let mut stream = connector.connect(name, stream).await?;
            self.sign_in(&mut stream, &mut buffer, &info).await?;
            let (read, write) = tokio::io::split(stream);
            return Ok(Connected {
                reader: Reader::Tls(read),
                writer: Writer::Tls(write),
                info,
                buffer,
            });
        }
        self.sign_in(&mut stream, &mut buffer, &info).await?;
        let socket = Arc::new(stream);
        let (reader, writer) = (Reader::Plain(Arc::clone(&socket)), Writer::Plain(socket));
        Ok(Connected {
            reader,
            writer,
            info,
            buffer,
        })
    }

    async fn sign_in<S>(&self, stream: &mut S, buffer: &mut BytesMut, info: &Info) -> io::Result<()>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let text = format!("CONNECT {}\r\nPING\r\n", self.introduction(info)?);
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        loop {
            match self.operation(stream, buffer).await? {
                Operation::Pong => return Ok(()),
                Operation::Error(text) => return Err(other(text)),
                _ => {}
            }
        }
    }

    fn introduction(&self, info: &Info) -> io::Result<Value> {
        let mut words = Map::new();
        let mut add = |name: &str, value: Value| drop(words.insert(name.to_owned(), value));
        add("name", json!(self.name));
        add("lang", json!("rust"));
        add("version", json!(env!("CARGO_PKG_VERSION")));
        add("protocol", json!(1));
        for (name, set) in [
            ("verbose", false),
            ("pedantic", false),
            ("headers", true),
            ("no_responders", true),
        ] {
            add(name, json!(set));
        }
        let Identity {
            user,
            password,
            token,
            credentials,
        } = &self.identity;
        for (name, value) in [("user", user), ("pass", password), ("auth_token", token)] {
            if let Some(value) = value {
                add(name, json!(value));
            }
        }
        if let Some((jwt, key)) = credentials {
            let signature = key
                .sign(info.nonce.as_bytes())
                .map_err(|error| other(error.to_string()))?;
            add("jwt", json!(jwt));
            add("sig", json!(BASE64URL_NOPAD.encode(&signature)));
        }
        Ok(Value::Object(words))
    }

    async fn operation<S>(&self, stream: &mut S, buffer: &mut BytesMut) -> io::Result<Operation>
    where
        S: tokio::io::AsyncRead + Unpin,
    {
        loop {
            if let Some(operation) = next(buffer)? {
                return Ok(operation);
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
