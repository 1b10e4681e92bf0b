//! From an address to an open connection.

use std::io::ErrorKind::UnexpectedEof;

use bytes::BytesMut;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::connector::Connector;
use crate::link::{Link, READ_BUFFER};
use crate::parse::{self, Front, Operation};
use crate::server::Server;
use crate::stream::Stream;
use crate::tls;

/// What a server says of itself, as far as we care.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) max_payload: usize,
    pub(crate) connect_urls: Vec<String>,
    nonce: String,
    tls_required: bool,
}

/// What we say of ourselves, without who is asking.
fn hello(connector: &Connector, encrypted: bool) -> serde_json::Value {
    serde_json::json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": encrypted,
        "name": connector.options.name.as_deref().unwrap_or("npufleet"),
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "headers": true,
        "no_responders": true,
    })
}

/// Connects to one server and subscribes; the error is the reason in words.
pub(crate) async fn open(server: &Server, connector: &Connector) -> Result<Link, String> {
    let tcp = TcpStream::connect((server.host.as_str(), server.port))
        .await
        .map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut stream = Stream::Plain(tcp);
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    let Operation::Info(json) = read(&mut stream, &mut buffer).await? else {
        return Err("it did not introduce itself as a NATS server".into());
    };
    let info: Info = serde_json::from_str(&json)
        .map_err(|error| format!("its introduction is wrong: {error}"))?;
    let encrypted = server.tls || info.tls_required || connector.options.wants_tls();
    if encrypted {
        stream = encrypt(stream, server, connector).await?;
    }
    let mut hello = hello(connector, encrypted);
    connector
        .login
        .prove(&info.nonce, &mut hello)
        .map_err(|error| error.message)?;
    let subscriptions = connector.subscriptions.iter().enumerate();
    let subscriptions =
        subscriptions.map(|(number, subject)| format!("SUB {subject} {number}\r\n"));
    let text = format!(
        "CONNECT {hello}\r\n{}PING\r\n",
        subscriptions.collect::<String>()
    );
    stream
        .write_all(text.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    // The answer to the ping comes after the refusal of anything before it.
    loop {
        match read(&mut stream, &mut buffer).await? {
            Operation::Pong => return Ok(Link::new(stream, buffer, info)),
            Operation::Error(text) => return Err(text),
            _ => {}
        }
    }
}

async fn encrypt(stream: Stream, server: &Server, connector: &Connector) -> Result<Stream, String> {
    let Stream::Plain(tcp) = stream else {
        return Ok(stream);
    };
    let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(tls::configure(&connector.options)?);
    let stream = tls
        .connect(name, tcp)
        .await
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(Stream::Tls(Box::new(stream)))
}

async fn read(stream: &mut Stream, buffer: &mut BytesMut) -> Result<Operation, String> {
    loop {
        match parse::next(buffer).map_err(|what| format!("it sent {what}"))? {
            Front::Whole(operation) => return Ok(operation),
            Front::Missing(_) => {}
        }
        match stream.read_buf(buffer).await {
            Ok(0) => return Err("it closed the connection".into()),
            Ok(_) => {}
            Err(error) if error.kind() == UnexpectedEof => {
                return Err("it closed the connection".into());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
