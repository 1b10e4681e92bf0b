//! The two ends of a connection, plain or with TLS.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::outbox::Pieces;

/// The end that is read.
pub(super) enum Reader {
    Plain(Arc<TcpStream>),
    Tls(ReadHalf<TlsStream<TcpStream>>),
}

/// The end that the event loop writes to.
pub(super) enum Writer {
    Plain(Arc<TcpStream>),
    Tls(WriteHalf<TlsStream<TcpStream>>),
}

impl Reader {
    /// Reads what is there, waiting for something; 0 bytes mean the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => loop {
                match socket.try_read_buf(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        socket.readable().await?;
                    }
                    result => {
                        // Others on the event loop want their turn even when there is always something to read.
                        tokio::task::coop::consume_budget().await;
                        return result;
                    }
                }
            },
            Self::Tls(stream) => stream.read_buf(buffer).await,
        }
    }
}

impl Writer {
    /// The socket, when any thread may write to it.
    pub(super) fn socket(&self) -> Option<Arc<TcpStream>> {
        match self {
            Self::Plain(socket) => Some(Arc::clone(socket)),
            Self::Tls(_) => None,
        }
    }

    /// Writes everything, waiting for room.
    pub(super) async fn write_all(&mut self, mut pieces: Pieces) -> io::Result<()> {
        while !pieces.is_empty() {
            let (slices, count) = pieces.slices();
            match self.write(&slices[..count]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => pieces.advance(written),
            }
        }
        Ok(())
    }

    /// Lets out what was written.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush().await,
        }
    }

    async fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => loop {
                socket.writable().await?;
                match socket.try_write_vectored(slices) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return result,
                }
            },
            Self::Tls(stream) => stream.write_vectored(slices).await,
        }
    }
}
