//! The open connection.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::handshake::Info;
use crate::headers::HeaderBlock;
use crate::message::Message;
use crate::parse::{self, Front, Operation};
use crate::stream::Stream;

pub(crate) const READ_BUFFER: usize = 64 * 1024;
/// Above this nothing more should be published until some of it has left, in bytes.
const FULL: usize = 64 * 1024;
/// Payloads from this size on are written from where they lie, in bytes.
const OWN_PIECE: usize = 8 * 1024;
const PIECES: usize = 32;
/// How often a silent broker is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const UNANSWERED_PINGS: u32 = 2;

/// What the broker sent us.
#[derive(Debug)]
pub enum Received {
    /// A message for one of the subscriptions.
    Message(Message),
    /// The broker's words on something that we may not do or that went wrong. The connection stands.
    Complaint(String),
}

/// Why a connection ended, in words.
#[derive(Debug)]
pub struct Lost(pub String);

/// An open connection. It does nothing but when it is polled.
pub struct Link {
    stream: Stream,
    info: Info,
    incoming: BytesMut,
    /// Bytes without which nothing whole is at the front of `incoming`.
    missing: usize,
    outgoing: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes in `outgoing` and `tail`.
    waiting: usize,
    pings: Interval,
    unanswered: u32,
    /// The last complaint: when the connection ends, it is probably the reason.
    complaint: Option<String>,
}

impl Link {
    pub(crate) fn new(stream: Stream, incoming: BytesMut, info: Info) -> Self {
        let mut pings = interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        Self {
            stream,
            info,
            incoming,
            missing: 0,
            outgoing: VecDeque::new(),
            tail: BytesMut::new(),
            waiting: 0,
            pings,
            unanswered: 0,
            complaint: None,
        }
    }

    /// Returns the largest message that the broker takes, in bytes, headers included.
    pub fn max_payload(&self) -> usize {
        self.info.max_payload
    }

    pub(crate) fn cluster(&self) -> &[String] {
        &self.info.connect_urls
    }

    /// Whether so much waits to be sent that the caller had better wait too.
    pub fn is_full(&self) -> bool {
        self.waiting >= FULL
    }

    /// Puts a message behind those that wait to be sent. Subjects must hold no white space.
    pub fn publish(
        &mut self,
        subject: &str,
        reply: Option<&str>,
        headers: &HeaderBlock,
        payload: &Bytes,
    ) {
        let before = self.tail.len();
        let mut number = itoa::Buffer::new();
        let header_size = headers.size();
        self.tail
            .reserve(subject.len() + header_size + 128 + payload.len().min(OWN_PIECE));
        self.tail
            .put_slice(if header_size == 0 { b"PUB " } else { b"HPUB " });
        self.tail.put_slice(subject.as_bytes());
        self.tail.put_u8(b' ');
        if let Some(reply) = reply {
            self.tail.put_slice(reply.as_bytes());
            self.tail.put_u8(b' ');
        }
        if header_size > 0 {
            self.tail.put_slice(number.format(header_size).as_bytes());
            self.tail.put_u8(b' ');
        }
        self.tail
            .put_slice(number.format(header_size + payload.len()).as_bytes());
        self.tail.put_slice(b"\r\n");
        if header_size > 0 {
            headers.write_to(&mut self.tail);
        }
        if payload.len() < OWN_PIECE {
            self.tail.put_slice(payload);
            self.waiting += self.tail.len() - before;
        } else {
            self.waiting += self.tail.len() - before + payload.len();
            self.outgoing.push_back(self.tail.split().freeze());
            self.outgoing.push_back(payload.clone());
        }
        self.put(b"\r\n");
    }

    fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.waiting += bytes.len();
    }

    /// Gives the next thing that the broker sent. Answers pings on the way, which `poll_flush` sends.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Lost>> {
        loop {
            if self.missing == 0 {
                match parse::next(&mut self.incoming) {
                    Ok(Front::Whole(Operation::Message(message))) => {
                        return Poll::Ready(Ok(Received::Message(message)));
                    }
                    Ok(Front::Whole(Operation::Error(text))) => {
                        self.complaint = Some(text.clone());
                        return Poll::Ready(Ok(Received::Complaint(text)));
                    }
                    Ok(Front::Whole(Operation::Ping)) => self.put(b"PONG\r\n"),
                    Ok(Front::Whole(Operation::Info(json))) => {
                        // An introduction that cannot be read tells us nothing new.
                        self.info =
                            serde_json::from_str(&json).unwrap_or(std::mem::take(&mut self.info));
                    }
                    Ok(Front::Whole(Operation::Pong | Operation::Ok)) => {}
                    Ok(Front::Missing(missing)) => self.missing = missing,
                    Err(what) => return Poll::Ready(Err(Lost(format!("the broker sent {what}")))),
                }
                continue;
            }
            if self.incoming.capacity() - self.incoming.len() < self.missing.max(READ_BUFFER / 8) {
                self.incoming.reserve(self.missing.max(READ_BUFFER));
            }
            let read = pin!(self.stream.read_buf(&mut self.incoming)).poll(cx);
            match ready!(read) {
                Ok(0) => return Poll::Ready(Err(self.lost("the broker closed it"))),
                Ok(size) => {
                    self.missing = self.missing.saturating_sub(size);
                    self.unanswered = 0;
                }
                Err(error) => return Poll::Ready(Err(self.lost(&error.to_string()))),
            }
        }
    }

    /// Sends what waits. Pending means that some of it still does.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while self.waiting > 0 {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for piece in self
                .outgoing
                .iter()
                .map(|piece| &piece[..])
                .chain([&self.tail[..]])
                .take(PIECES)
            {
                pieces[count] = IoSlice::new(piece);
                count += 1;
            }
            match ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &pieces[..count])) {
                Ok(0) => return Poll::Ready(Err(self.lost("nothing can be written"))),
                Ok(size) => self.written(size),
                Err(error) => return Poll::Ready(Err(self.lost(&error.to_string()))),
            }
        }
        match ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(self.lost(&error.to_string()))),
        }
    }

    fn written(&mut self, mut size: usize) {
        self.waiting -= size;
        while let Some(piece) = self.outgoing.front_mut() {
            if size < piece.len() {
                piece.advance(size);
                return;
            }
            size -= piece.len();
            self.outgoing.pop_front();
        }
        self.tail.advance(size);
        if self.tail.is_empty() {
            // Gives the whole buffer back instead of creeping through it.
            self.tail.clear();
        }
    }

    /// Asks a silent broker whether it is there; the question leaves with `poll_flush`.
    ///
    /// # Errors
    /// When it did not answer twice.
    pub fn poll_alive(&mut self, cx: &mut Context<'_>) -> Result<(), Lost> {
        while self.pings.poll_tick(cx).is_ready() {
            if self.unanswered >= UNANSWERED_PINGS {
                return Err(self.lost("the broker does not answer"));
            }
            self.unanswered += 1;
            self.put(b"PING\r\n");
        }
        Ok(())
    }

    /// Sends what waits and ends the connection.
    ///
    /// # Errors
    /// When something could not be sent.
    pub async fn close(mut self) -> Result<(), Lost> {
        poll_fn(|cx| self.poll_flush(cx)).await?;
        self.stream
            .shutdown()
            .await
            .map_err(|error| Lost(error.to_string()))
    }

    fn lost(&mut self, how: &str) -> Lost {
        Lost(self.complaint.take().unwrap_or_else(|| how.to_owned()))
    }
}
