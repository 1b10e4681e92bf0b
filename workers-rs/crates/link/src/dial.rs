//! From an address to an open connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::options::Access;
use crate::parse::{self, Front, Operation};
use crate::server::Server;
use crate::stream::{READ_BUFFER, Stream};
use crate::tls;

const FIRST_DELAY: Duration = Duration::from_millis(1);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// What a server says of itself, as far as we care.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) max_payload: usize,
    pub(crate) connect_urls: Vec<String>,
    /// It is about to shut down.
    pub(crate) ldm: bool,
    nonce: String,
    tls_required: bool,
}

/// A connection that stands.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) info: Info,
    /// What was read and not yet looked at.
    pub(crate) incoming: BytesMut,
    pub(crate) server: Server,
}

/// Connects to one server after `delay`; the error is the reason in words, with the address.
pub(crate) async fn dial(access: Arc<Access>, server: Server, delay: Duration) -> Result<Opened, String> {
    tokio::time::sleep(delay).await;
    let opened = tokio::time::timeout(access.timeout, open(&access, &server)).await;
    let timed_out = || format!("timed out after {} s", access.timeout.as_secs_f64());
    let (stream, info, incoming) = opened
        .unwrap_or_else(|_| Err(timed_out()))
        .map_err(|reason| format!("cannot connect to the broker at {}: {reason}", server.shown()))?;
    Ok(Opened {
        stream,
        info,
        incoming,
        server,
    })
}

/// Returns how long to wait before an attempt: the first round goes without a pause, since another server of the
/// cluster may be there at once; then it doubles, plus up to as much again, so that a fleet does not return in step.
pub(crate) fn delay(round: u32) -> Duration {
    if round == 0 {
        return Duration::ZERO;
    }
    let base = (FIRST_DELAY * 2u32.saturating_pow(round.min(16))).min(LONGEST_DELAY);
    base + base.mul_f64(fastrand::f64())
}

async fn open(access: &Access, server: &Server) -> Result<(Stream, Info, BytesMut), String> {
    let socket = TcpStream::connect((server.host.as_str(), server.port))
        .await
        .map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut stream = Stream::Plain(Arc::new(socket));
    let mut incoming = BytesMut::with_capacity(READ_BUFFER);
    let Operation::Info(json) = read(&mut stream, &mut incoming).await? else {
        return Err("it did not introduce itself as a NATS server".into());
    };
    let info: Info = serde_json::from_str(&json).map_err(|error| format!("its introduction is wrong: {error}"))?;
    let encrypted = server.tls || info.tls_required || access.tls.is_some();
    if encrypted {
        if !incoming.is_empty() {
            // It would be taken for something that came encrypted.
            return Err("it sent more than its introduction before the encryption".into());
        }
        stream = encrypt(stream, server, access).await?;
    }
    let mut hello = hello(access, encrypted);
    access.login.prove(&info.nonce, &mut hello)?;
    write(&mut stream, &format!("CONNECT {hello}\r\nPING\r\n")).await?;
    // The answer to the ping comes after the refusal of anything before it.
    loop {
        match read(&mut stream, &mut incoming).await? {
            Operation::Pong => return Ok((stream, info, incoming)),
            Operation::Error(text) => return Err(text),
            _ => {}
        }
    }
}

/// What we say of ourselves, without who is asking.
fn hello(access: &Access, encrypted: bool) -> Value {
    json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": encrypted,
        "name": access.name,
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "headers": true,
        "no_responders": true,
    })
}

async fn encrypt(stream: Stream, server: &Server, access: &Access) -> Result<Stream, String> {
    let Stream::Plain(socket) = stream else {
        return Ok(stream);
    };
    let socket = Arc::into_inner(socket).ok_or("its socket is in use")?;
    let name = ServerName::try_from(server.name.clone()).map_err(|error| error.to_string())?;
    let trust = match &access.tls {
        Some(trust) => Arc::clone(trust),
        None => tls::of_system()?,
    };
    let stream = TlsConnector::from(trust).connect(name, socket).await;
    stream
        .map(|stream| Stream::Tls(Box::new(stream)))
        .map_err(|error| format!("TLS: {error}"))
}

async fn write(stream: &mut Stream, text: &str) -> Result<(), String> {
    let mut rest = text.as_bytes();
    let written = poll_fn(|cx| {
        while !rest.is_empty() {
            let size = std::task::ready!(stream.poll_write(cx, &[std::io::IoSlice::new(rest)]))?;
            rest = &rest[size..];
        }
        stream.poll_flush(cx)
    });
    written.await.map_err(|error| error.to_string())
}

async fn read(stream: &mut Stream, incoming: &mut BytesMut) -> Result<Operation, String> {
    loop {
        let missing = match parse::next(incoming).map_err(|what| format!("it sent {what}"))? {
            Front::Whole(operation) => return Ok(operation),
            Front::Missing(missing) => missing,
        };
        match poll_fn(|cx| stream.poll_read(cx, incoming, missing)).await {
            Ok(0) => return Err("it closed the connection".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnecting_starts_at_once_and_slows_down() {
        assert_eq!(delay(0), Duration::ZERO);
        for round in [1, 3, 12, u32::MAX] {
            let delay = delay(round);
            assert!(delay >= FIRST_DELAY && delay <= 2 * LONGEST_DELAY, "{round}: {delay:?}");
        }
        assert!(delay(u32::MAX) >= LONGEST_DELAY);
    }
}
