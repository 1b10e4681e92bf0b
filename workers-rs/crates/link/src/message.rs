//! What arrives.

use std::ops::Range;

use bytes::Bytes;

use crate::Subject;
use crate::bundle;
use crate::headers::Headers;

/// One message as one piece of the receive buffer. It keeps up to 64 KiB of its neighbours alive: what is kept for
/// long should be copied out.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) bytes: Bytes,
    pub(crate) subscription: u64,
    pub(crate) subject: Range<usize>,
    pub(crate) reply: Range<usize>,
    pub(crate) headers: Range<usize>,
    pub(crate) payload: Range<usize>,
    pub(crate) is_part: bool,
}

impl Message {
    /// Returns the number of the subscription that it came by.
    pub fn subscription(&self) -> u64 {
        self.subscription
    }

    /// Returns the subject; empty when it is not UTF-8.
    pub fn subject(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.subject.clone()]).unwrap_or_default()
    }

    /// Returns where an answer goes, if one is wanted; the subject shares memory with the message.
    pub fn reply(&self) -> Option<Subject> {
        if self.reply.is_empty() {
            return None;
        }
        Subject::try_from(self.bytes.slice(self.reply.clone())).ok()
    }

    /// Whether it came in a [`Bundle`](crate::Bundle): its sender takes answers in bundles, too.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// Whether it says to be a bundle.
    pub(crate) fn is_bundle(&self) -> bool {
        self.bytes[self.headers.clone()].starts_with(bundle::MARK)
    }

    /// Returns the headers; there may be none.
    pub fn headers(&self) -> Headers<'_> {
        Headers::new(&self.bytes[self.headers.clone()])
    }

    /// Returns the status that the broker gives: 0, or 503 when nobody listens where the message was sent to.
    pub fn status(&self) -> u16 {
        self.headers().status()
    }

    /// Returns the payload, sharing memory with the message.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(self.payload.clone())
    }

    /// Returns the payload.
    pub fn payload_bytes(&self) -> &[u8] {
        &self.bytes[self.payload.clone()]
    }
}
