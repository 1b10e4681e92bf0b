//! The bytes of a connection, encrypted or not.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Room for what is read at once.
pub(crate) const READ_BUFFER: usize = 64 * 1024;
/// What a message that is still coming gets at once; a broker's word alone is no reason to take all it asks for.
const LARGEST_STEP: usize = 1 << 20;

pub(crate) enum Stream {
    /// Shared with every thread that has something to send.
    Plain(Arc<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Reads more behind what is in `buffer`, where `missing` bytes are known to come; 0 when the other side closed.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        missing: usize,
    ) -> Poll<io::Result<usize>> {
        // Messages share the buffer; what they left of it is used up before another one is made.
        let wanted = missing.min(LARGEST_STEP);
        if buffer.capacity() - buffer.len() < wanted.max(READ_BUFFER / 8) {
            buffer.reserve(wanted.max(READ_BUFFER));
        }
        match self {
            Self::Plain(socket) => loop {
                ready!(socket.poll_read_ready(cx))?;
                match socket.try_read_buf(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            },
            Self::Tls(stream) => {
                let read = pin!(stream.read_buf(buffer));
                match ready!(read.poll(cx)) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                    result => Poll::Ready(result),
                }
            }
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => loop {
                ready!(socket.poll_write_ready(cx))?;
                match socket.try_write_vectored(slices) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            },
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says goodbye on an encrypted connection; any other ends when it is dropped.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}
