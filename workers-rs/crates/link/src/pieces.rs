//! Bytes that are to be sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes};

/// Larger payloads are written from where they lie instead of being copied, in bytes.
const COPIED: usize = 8 * 1024;
/// Parts that one system call takes.
const PARTS: usize = 32;
const LINE_END: &[u8] = b"\r\n";

/// Bytes that are to be sent, in parts.
#[derive(Default)]
pub struct Pieces {
    parts: VecDeque<Bytes>,
    /// The last part, still growing.
    tail: Vec<u8>,
    size: usize,
}

impl Pieces {
    /// Adds a message. Subjects must hold no white space; `headers` is a whole block of headers, or empty.
    pub fn publish(&mut self, subject: &str, reply: Option<&str>, headers: &[u8], payload: &Bytes) {
        if payload.len() <= COPIED {
            return self.publish_copied(subject, reply, headers, payload);
        }
        let before = self.tail.len();
        write_publish(&mut self.tail, subject, reply, headers, payload.len());
        self.size += self.tail.len() - before + payload.len() + LINE_END.len();
        self.end_tail();
        self.parts.push_back(payload.clone());
        self.tail.extend_from_slice(LINE_END);
    }

    /// As [`Pieces::publish`], with a payload that the caller keeps.
    pub(crate) fn publish_copied(&mut self, subject: &str, reply: Option<&str>, headers: &[u8], payload: &[u8]) {
        let before = self.tail.len();
        write_publish(&mut self.tail, subject, reply, headers, payload.len());
        self.tail.extend_from_slice(payload);
        self.tail.extend_from_slice(LINE_END);
        self.size += self.tail.len() - before;
    }

    /// Adds whole operations of the protocol.
    pub(crate) fn operations(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.size += bytes.len();
    }

    /// Adds all messages of another one.
    pub fn append(&mut self, mut other: Self) {
        if other.is_empty() {
            return;
        }
        self.end_tail();
        other.end_tail();
        self.size += other.size;
        self.parts.append(&mut other.parts);
    }

    /// Returns the bytes that wait.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds a line of the protocol.
    pub(crate) fn line(&mut self, line: &str) {
        self.operations(line.as_bytes());
        self.operations(LINE_END);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Puts what is left of an earlier one before this.
    pub(crate) fn prepend(&mut self, mut earlier: Self) {
        earlier.end_tail();
        self.size += earlier.size;
        while let Some(part) = earlier.parts.pop_back() {
            self.parts.push_front(part);
        }
    }

    /// Uses the memory of `spare` for what is added.
    pub(crate) fn reuse(&mut self, spare: Vec<u8>) {
        self.tail = spare;
    }

    /// Gives the memory of an empty one back.
    pub(crate) fn into_spare(self) -> Vec<u8> {
        self.tail
    }

    /// Hands as much as fits into one system call to `write`, and drops what it took.
    pub(crate) fn write(&mut self, write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); PARTS];
        let parts = self.parts.iter().map(|part| &part[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        match write(&slices[..count])? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => {
                self.advance(written);
                Ok(())
            }
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.size -= written;
        while let Some(part) = self.parts.front_mut() {
            if written < part.len() {
                return part.advance(written);
            }
            written -= part.len();
            self.parts.pop_front();
        }
        self.tail.drain(..written);
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(std::mem::take(&mut self.tail).into());
        }
    }
}

/// Writes what the protocol has before the payload of a message, of which there will be `size` bytes.
pub(crate) fn write_publish(to: &mut Vec<u8>, subject: &str, reply: Option<&str>, headers: &[u8], size: usize) {
    let mut number = itoa::Buffer::new();
    to.extend_from_slice(if headers.is_empty() { b"PUB " } else { b"HPUB " });
    to.extend_from_slice(subject.as_bytes());
    to.push(b' ');
    if let Some(reply) = reply {
        to.extend_from_slice(reply.as_bytes());
        to.push(b' ');
    }
    if !headers.is_empty() {
        to.extend_from_slice(number.format(headers.len()).as_bytes());
        to.push(b' ');
    }
    to.extend_from_slice(number.format(headers.len() + size).as_bytes());
    to.extend_from_slice(LINE_END);
    to.extend_from_slice(headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything in it, taken in bites of at most this size.
    fn sent(mut pieces: Pieces, most: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while !pieces.is_empty() {
            let bite = |slices: &[IoSlice<'_>]| {
                let whole: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let size = whole.len().min(most);
                sent.extend_from_slice(&whole[..size]);
                Ok(size)
            };
            pieces.write(bite).unwrap();
        }
        sent
    }

    #[test]
    fn messages_are_written_as_the_protocol_wants() {
        let mut pieces = Pieces::default();
        pieces.publish("a", None, b"", &Bytes::from_static(b"xy"));
        pieces.publish("a", Some("r"), b"NATS/1.0\r\n\r\n", &Bytes::from_static(b"xyz"));
        pieces.line("PING");
        let text = b"PUB a 2\r\nxy\r\nHPUB a r 12 15\r\nNATS/1.0\r\n\r\nxyz\r\nPING\r\n";
        assert_eq!(pieces.size(), text.len());
        assert_eq!(sent(pieces, usize::MAX), text);
    }

    #[test]
    fn any_way_of_cutting_sends_the_same() {
        let large = Bytes::from(vec![7; COPIED + 1]);
        let filled = || {
            let mut pieces = Pieces::default();
            for index in 0..PARTS {
                pieces.publish(&format!("a.{index}"), None, b"", &large);
                pieces.publish("b", None, b"", &Bytes::from_static(b"x"));
            }
            pieces
        };
        let whole = sent(filled(), usize::MAX);
        assert_eq!(sent(filled(), 1000), whole);
        let (mut begun, mut later) = (filled(), Pieces::default());
        begun.write(|_| Ok(12_345)).unwrap();
        later.line("PING");
        later.prepend(begun);
        later.append(filled());
        assert_eq!(sent(later, 4000), [&whole[12_345..], b"PING\r\n", &whole].concat());
    }

    #[test]
    fn a_socket_that_takes_nothing_is_an_error() {
        let mut pieces = Pieces::default();
        pieces.line("PING");
        assert_eq!(pieces.write(|_| Ok(0)).unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert_eq!(pieces.size(), 6);
    }
}
