//! Messages that travel as one, because brokers charge by the message.
//!
//! The payload of a bundle is what its sender would have sent to the broker otherwise: operations `PUB` and `HPUB`, one
//! after another (docs/contract.md). The connection takes a bundle apart, so that whoever reads it sees its parts alone.

use bytes::Bytes;
use npufleet_wire::header;

use crate::headers::HeaderBlock;
use crate::message::Message;
use crate::parse;
use crate::pieces::{Pieces, write_publish};

/// How a bundle's headers begin.
pub(crate) const MARK: &[u8] = b"NATS/1.0\r\nNpu-Bundle: ";
/// Messages in one bundle at most.
pub const PARTS: usize = 64;
/// A larger message travels alone, in bytes of headers and payload: of those, the bytes are what costs.
const PART: usize = 4 << 10;
/// How much a bundle holds, in bytes.
const BYTES: usize = 32 << 10;

/// Messages that are to travel as one.
#[derive(Default)]
pub struct Bundle {
    parts: Vec<u8>,
    count: usize,
}

impl Bundle {
    /// Whether a message of so many bytes of headers and payload is one for bundles, with a broker that takes messages
    /// of up to `limit` bytes.
    pub fn takes(size: usize, limit: usize) -> bool {
        size <= PART && limit >= 2 * BYTES
    }

    /// Whether no message may be added any more, be it one of the largest.
    pub fn is_full(&self) -> bool {
        self.count == PARTS || self.parts.len() + 2 * PART > BYTES
    }

    /// Returns the number of messages.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a message that a bundle [`takes`](Self::takes), as [`Pieces::publish`] does.
    pub fn add(&mut self, subject: &str, reply: Option<&str>, headers: &[u8], payload: &[u8]) {
        write_publish(&mut self.parts, subject, reply, headers, payload.len());
        self.parts.extend_from_slice(payload);
        self.parts.extend_from_slice(b"\r\n");
        self.count += 1;
    }

    /// Publishes the messages, to `subject` if they are several; a single one as if there were no bundles. It is empty
    /// afterwards.
    pub fn publish(&mut self, subject: &str, reply: Option<&str>, pieces: &mut Pieces) {
        if self.count > 1 {
            let mut headers = HeaderBlock::default();
            headers.push_number(header::BUNDLE, self.count as u64);
            pieces.publish_copied(subject, reply, headers.as_bytes(), &self.parts);
        } else {
            pieces.operations(&self.parts);
        }
        self.parts.clear();
        self.count = 0;
    }
}

/// Takes a bundle apart, without copying. None when it is not what it says to be.
///
/// Requests go where the bundle went, and answers to the same inbox: what the broker allowed covers its parts.
pub(crate) fn open(bundle: &Message) -> Option<Vec<Message>> {
    let count: usize = bundle.headers().get(header::BUNDLE)?.parse().ok()?;
    let mut parts = Vec::with_capacity(count.min(PARTS));
    let mut start = bundle.payload.start;
    while start < bundle.payload.end {
        let (part, end) = part(bundle, start)?;
        parts.push(part);
        start = end;
    }
    (parts.len() == count && count <= PARTS).then_some(parts)
}

/// The part that begins at `start`, and where the next one does.
fn part(bundle: &Message, start: usize) -> Option<(Message, usize)> {
    let bytes: &Bytes = &bundle.bytes;
    let line = start + memchr::memchr(b'\n', &bytes[start..bundle.payload.end])?;
    let text = bytes[start..line].strip_suffix(b"\r")?;
    let with_headers = text.starts_with(b"HPUB ");
    if !with_headers && !text.starts_with(b"PUB ") {
        return None;
    }
    let words = if with_headers { start + 5 } else { start + 4 };
    let envelope = parse::envelope(bytes, words..start + text.len(), false, with_headers).ok()?;
    let headers = line + 1;
    let end = headers.checked_add(envelope.size)?;
    if end + 2 > bundle.payload.end || bytes[end..end + 2] != *b"\r\n" {
        return None;
    }
    let (own, outer) = (&bytes[envelope.subject.clone()], &bytes[bundle.subject.clone()]);
    let is_meant = if envelope.reply.is_empty() {
        inbox(own) == inbox(outer)
    } else {
        own == outer
    };
    let part = Message {
        bytes: bytes.clone(),
        subscription: bundle.subscription,
        subject: envelope.subject,
        reply: envelope.reply,
        headers: headers..headers + envelope.header_size,
        payload: headers + envelope.header_size..end,
        is_part: true,
    };
    is_meant.then_some((part, end + 2))
}

/// A subject without its last token.
fn inbox(subject: &[u8]) -> Option<&[u8]> {
    memchr::memrchr(b'.', subject).map(|end| &subject[..end])
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::parse::{Front, Operation};

    /// What a receiver has of a message on `subject` with this payload, said to hold so many parts.
    fn received(subject: &str, count: usize, payload: &[u8]) -> Option<Vec<Message>> {
        let headers = format!("NATS/1.0\r\nNpu-Bundle: {count}\r\n\r\n");
        let (before, size) = (headers.len(), headers.len() + payload.len());
        let text = format!("HMSG {subject} 7 {before} {size}\r\n{headers}");
        let mut buffer = BytesMut::from(&[text.as_bytes(), payload, b"\r\n"].concat()[..]);
        match parse::next(&mut buffer) {
            Ok(Front::Whole(Operation::Message(message))) => {
                assert!(message.is_bundle());
                open(&message)
            }
            other => panic!("{other:?}"),
        }
    }

    #[derive(Deserialize)]
    struct Vectors {
        valid: Vec<Valid>,
        invalid: Vec<Invalid>,
    }

    #[derive(Deserialize)]
    struct Valid {
        name: String,
        subject: String,
        payload: String,
        parts: Vec<Part>,
    }

    #[derive(Deserialize)]
    struct Part {
        subject: String,
        reply: Option<String>,
        headers: Vec<(String, String)>,
        payload: String,
    }

    #[derive(Deserialize)]
    struct Invalid {
        name: String,
        subject: String,
        count: usize,
        payload: String,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../../../../broker/contract/vectors/bundles.json")).unwrap()
    }

    #[test]
    fn golden_bundles_are_taken_apart_and_written_alike() {
        for Valid {
            name,
            subject,
            payload,
            parts,
        } in vectors().valid
        {
            let read = received(&subject, parts.len(), payload.as_bytes()).unwrap();
            let mut bundle = Bundle::default();
            for (part, read) in parts.iter().zip(&read) {
                assert!(read.is_part());
                assert_eq!((read.subject(), read.subscription()), (&*part.subject, 7), "{name}");
                assert_eq!(read.reply().as_deref(), part.reply.as_deref(), "{name}");
                assert_eq!(read.payload_bytes(), part.payload.as_bytes(), "{name}");
                let headers: Vec<_> = read.headers().iter().collect();
                let expected: Vec<_> = part.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
                assert_eq!(headers, expected, "{name}");
                let mut block = HeaderBlock::default();
                for (name, value) in &headers {
                    block.push(name, value);
                }
                bundle.add(
                    &part.subject,
                    part.reply.as_deref(),
                    block.as_bytes(),
                    part.payload.as_bytes(),
                );
            }
            assert_eq!(bundle.parts, payload.as_bytes(), "{name}");
        }
    }

    #[test]
    fn what_is_no_bundle_is_not_taken_apart() {
        for Invalid {
            name,
            subject,
            count,
            payload,
        } in vectors().invalid
        {
            assert!(received(&subject, count, payload.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn one_message_travels_as_if_there_were_no_bundles() {
        let (mut bundle, mut pieces, mut alone) = (Bundle::default(), Pieces::default(), Pieces::default());
        bundle.add("a", Some("r.1"), b"", b"xy");
        bundle.publish("a", Some("r.bundle"), &mut pieces);
        alone.publish("a", Some("r.1"), b"", &Bytes::from_static(b"xy"));
        assert_eq!((bundle.count(), pieces.size()), (0, alone.size()));
    }

    proptest! {
        #[test]
        fn what_is_bundled_comes_out(payloads in vec(vec(any::<u8>(), 0..200), 2..=PARTS)) {
            let mut bundle = Bundle::default();
            for (number, payload) in payloads.iter().enumerate() {
                bundle.add("a.b", Some(&format!("r.{number}")), b"", payload);
            }
            let parts = received("a.b", payloads.len(), &bundle.parts).unwrap();
            prop_assert_eq!(parts.len(), payloads.len());
            for (number, (part, payload)) in parts.iter().zip(&payloads).enumerate() {
                prop_assert_eq!(part.reply(), Some(format!("r.{number}").into()));
                prop_assert_eq!(part.payload_bytes(), &payload[..]);
            }
        }

        #[test]
        fn no_bytes_do_harm(count in 0usize..70, payload in vec(any::<u8>(), 0..300), text in "([H]?PUB a.b( r.1)?( [0-9]{1,20}){1,2}\r\n.{0,9}\r\n){0,4}") {
            for payload in [&payload[..], text.as_bytes()] {
                for part in received("a.b", count, payload).into_iter().flatten() {
                    prop_assert!(part.payload_bytes().len() + part.headers().as_bytes().len() <= payload.len());
                }
            }
        }

        #[test]
        fn a_spoilt_bundle_does_no_harm(at in 0usize..100, byte in any::<u8>()) {
            let mut bundle = Bundle::default();
            bundle.add("a.b", Some("r.1"), b"NATS/1.0\r\nA: b\r\n\r\n", b"payload");
            bundle.add("a.b", Some("r.2"), b"", b"payload");
            let place = at % bundle.parts.len();
            bundle.parts[place] = byte;
            for part in received("a.b", 2, &bundle.parts).into_iter().flatten() {
                prop_assert_eq!(part.subject(), "a.b");
            }
        }
    }
}
