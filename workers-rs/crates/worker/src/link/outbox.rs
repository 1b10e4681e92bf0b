//! What is sent. Whoever has something to send adds it, and sends everything that waits unless somebody is at it.
//!
//! So an executor's replies leave from its own thread, without waking the event loop; and while one thread is in the
//! system call, what others add gathers and leaves with the next. When the system takes no more, or with TLS, the event
//! loop goes on with it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use crate::events::log;

/// Larger payloads are not copied.
const COPIED: usize = 8 * 1024;
/// An executor waits while more than this waits, in bytes.
const FULL: usize = 32 << 20;
/// Without a connection, answers beyond this are dropped: their callers are long gone.
const KEPT: usize = 64 << 20;
/// Parts that one system call takes.
const PARTS: usize = 32;

/// Which thread sends: an executor may wait, the event loop must not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum From {
    Executor,
    EventLoop,
}

/// Bytes to send, in parts.
#[derive(Default)]
pub(crate) struct Pieces {
    parts: VecDeque<Bytes>,
    /// The last part, still growing.
    tail: Vec<u8>,
    bytes: usize,
}

impl Pieces {
    /// Adds a message. `headers` is a whole block of headers, or empty; `reply` is empty when none is wanted.
    pub(crate) fn publish(
        &mut self,
        subject: &[u8],
        reply: &[u8],
        headers: &[u8],
        payload: &Bytes,
    ) {
        let before = self.tail.len();
        let tail = &mut self.tail;
        tail.extend_from_slice(if headers.is_empty() {
            b"PUB "
        } else {
            b"HPUB "
        });
        tail.extend_from_slice(subject);
        tail.push(b' ');
        if !reply.is_empty() {
            tail.extend_from_slice(reply);
            tail.push(b' ');
        }
        if !headers.is_empty() {
            push_decimal(tail, headers.len() as u64);
            tail.push(b' ');
        }
        push_decimal(tail, (headers.len() + payload.len()) as u64);
        tail.extend_from_slice(b"\r\n");
        tail.extend_from_slice(headers);
        if payload.len() <= COPIED {
            tail.extend_from_slice(payload);
            self.bytes += self.tail.len() - before;
        } else {
            self.bytes += self.tail.len() - before + payload.len();
            self.close_tail();
            self.parts.push_back(payload.clone());
        }
        self.tail.extend_from_slice(b"\r\n");
        self.bytes += 2;
    }

    /// Adds a line of the protocol.
    pub(super) fn line(&mut self, line: &str) {
        self.tail.extend_from_slice(line.as_bytes());
        self.tail.extend_from_slice(b"\r\n");
        self.bytes += line.len() + 2;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.tail.clear();
        self.bytes = 0;
    }

    /// Puts what is left of an earlier one before this.
    fn prepend(&mut self, mut earlier: Self) {
        earlier.close_tail();
        self.bytes += earlier.bytes;
        while let Some(part) = earlier.parts.pop_back() {
            self.parts.push_front(part);
        }
    }

    pub(super) fn slices(&self) -> ([IoSlice<'_>; PARTS], usize) {
        let mut slices = [IoSlice::new(&[]); PARTS];
        let parts = self
            .parts
            .iter()
            .map(|part| &part[..])
            .chain(std::iter::once(&self.tail[..]));
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        (slices, count)
    }

    pub(super) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(part) = self.parts.front_mut() {
            if written < part.len() {
                return part.advance(written);
            }
            written -= part.len();
            self.parts.pop_front();
        }
        self.tail.drain(..written);
    }

    /// Hands everything to `write` until it is gone or `write` fails.
    fn drain(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while !self.is_empty() {
            let (slices, count) = self.slices();
            match write(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What waits to be sent, and who sends it.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// The event loop is to go on sending.
    pub(super) work: Notify,
    room: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Pieces,
    /// Used in turns with `waiting`, to keep its memory.
    spare: Vec<u8>,
    /// Somebody is sending: whoever adds something leaves it to them.
    busy: bool,
    connected: bool,
    /// The socket, when any thread may write to it.
    socket: Option<Arc<TcpStream>>,
    /// Counts connections: what belongs to an earlier one is not put back.
    connection: u64,
    pings: VecDeque<Option<oneshot::Sender<()>>>,
}

impl Outbox {
    /// Sends whatever `write` adds; without a connection it waits for one.
    pub(super) fn send(&self, from: From, write: impl FnOnce(&mut Pieces)) {
        let mut state = self.state.lock();
        while from == From::Executor && state.connected && state.waiting.bytes > FULL {
            self.room.wait(&mut state);
        }
        if !state.connected && state.waiting.bytes > KEPT {
            log(format_args!(
                "the broker is not there and too many answers wait: one is dropped"
            ));
            return;
        }
        write(&mut state.waiting);
        self.flush(state);
    }

    /// Sends whatever `write` adds if there is a connection.
    pub(super) fn if_connected(&self, write: impl FnOnce(&mut Pieces)) {
        let mut state = self.state.lock();
        if state.connected {
            write(&mut state.waiting);
            self.flush(state);
        }
    }

    /// Asks the broker for a sign of life; `answered` hears of it, or is dropped with the connection.
    pub(super) fn ping(&self, answered: Option<oneshot::Sender<()>>) {
        let mut state = self.state.lock();
        if state.connected {
            state.pings.push_back(answered);
            state.waiting.line("PING");
            self.flush(state);
        }
    }

    /// The broker answered the oldest ping.
    pub(super) fn pong(&self) {
        let ping = self.state.lock().pings.pop_front();
        if let Some(Some(answered)) = ping {
            // Whoever asked may have lost patience.
            let _ = answered.send(());
        }
    }

    /// Pings that were not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.state.lock().pings.len()
    }

    /// A connection stands: `first` goes before everything that waits.
    pub(super) fn connect(&self, socket: Option<Arc<TcpStream>>, first: impl FnOnce(&mut Pieces)) {
        let mut state = self.state.lock();
        let mut pieces = Pieces::default();
        first(&mut pieces);
        state.waiting.prepend(pieces);
        (state.socket, state.connected, state.busy) = (socket, true, false);
        state.connection += 1;
        self.flush(state);
    }

    /// The connection is lost, with what was being sent: nobody knows how much of it arrived.
    pub(super) fn disconnect(&self) {
        let mut state = self.state.lock();
        state.waiting.clear();
        state.pings.clear();
        (state.socket, state.connected, state.busy) = (None, false, false);
        state.connection += 1;
        self.room.notify_all();
    }

    /// What the event loop is to send; it calls again until nothing is left.
    pub(super) fn take(&self) -> Option<Pieces> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            state.busy = false;
            return None;
        }
        self.room.notify_all();
        Some(std::mem::take(&mut state.waiting))
    }

    fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.busy || !state.connected || state.waiting.is_empty() {
            return;
        }
        state.busy = true;
        let Some(socket) = state.socket.clone() else {
            drop(state);
            return self.work.notify_one();
        };
        let connection = state.connection;
        while !state.waiting.is_empty() {
            let mut pieces = std::mem::take(&mut state.waiting);
            state.waiting.tail = std::mem::take(&mut state.spare);
            let result = MutexGuard::unlocked(&mut state, || {
                pieces.drain(|slices| socket.try_write_vectored(slices))
            });
            if state.connection != connection {
                return;
            }
            if let Err(error) = result {
                if error.kind() == io::ErrorKind::WouldBlock {
                    state.waiting.prepend(pieces);
                    drop(state);
                    self.work.notify_one();
                }
                // Any other error is seen by the reader too, which ends the connection; until then nobody sends.
                return;
            }
            state.spare = std::mem::take(&mut pieces.tail);
            self.room.notify_all();
        }
        state.busy = false;
    }
}

/// Adds a number in decimal.
pub(crate) fn push_decimal(text: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut start) = ([0; 20], 20);
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pieces: &mut Pieces, most: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        let result = pieces.drain(|slices| {
            let whole: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let written = whole.len().min(most);
            sent.extend_from_slice(&whole[..written]);
            Ok(written)
        });
        result.unwrap();
        assert!(pieces.is_empty());
        sent
    }

    #[test]
    fn messages_are_written_as_the_protocol_wants() {
        let mut pieces = Pieces::default();
        pieces.publish(b"a", b"", b"", &Bytes::from_static(b"xy"));
        pieces.publish(b"a", b"r", b"NATS/1.0\r\n\r\n", &Bytes::from_static(b"xyz"));
        pieces.line("PING");
        let text = b"PUB a 2\r\nxy\r\nHPUB a r 12 15\r\nNATS/1.0\r\n\r\nxyz\r\nPING\r\n";
        assert_eq!(pieces.bytes, text.len());
        assert_eq!(sent(&mut pieces, usize::MAX), text);
    }

    #[test]
    fn any_way_of_cutting_sends_the_same() {
        let large = Bytes::from(vec![7; COPIED + 1]);
        let fill = |pieces: &mut Pieces| {
            for index in 0..PARTS {
                pieces.publish(format!("a.{index}").as_bytes(), b"", b"", &large);
                pieces.publish(b"b", b"", b"", &Bytes::from_static(b"x"));
            }
        };
        let (mut whole, mut cut, mut restored) =
            (Pieces::default(), Pieces::default(), Pieces::default());
        fill(&mut whole);
        fill(&mut cut);
        fill(&mut restored);
        let whole = sent(&mut whole, usize::MAX);
        assert_eq!(sent(&mut cut, 1000), whole);
        restored.advance(12_345);
        let mut later = Pieces::default();
        later.line("PING");
        later.prepend(restored);
        assert_eq!(
            sent(&mut later, usize::MAX),
            [&whole[12_345..], b"PING\r\n"].concat()
        );
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            let mut text = Vec::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string().as_bytes());
        }
    }
}
