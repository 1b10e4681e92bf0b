//! What is asked of the fleet and what comes of it.

use std::sync::Arc;

use bytes::Bytes;
use npufleet_link::Message;
use npufleet_wire::{Error, ErrorKind};

/// One call, ready to be published.
#[derive(Debug)]
pub struct Request {
    /// Where the call goes.
    pub subject: Arc<str>,
    /// When it must have been answered, in unix microseconds; travels as `Npu-Deadline`.
    pub deadline_us: u64,
    /// Further headers, such as `traceparent`.
    pub headers: Vec<(String, String)>,
    /// The frame.
    pub payload: Bytes,
}

/// How a submitted call ended.
#[derive(Debug)]
pub enum Outcome {
    /// Somebody answered, be it with an error; or the broker did, with status 503, because nobody listens.
    Reply(Message),
    /// Nobody will: the deadline passed, or the connection was lost or closed.
    Failed(Error),
}

/// Why a call was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// The message, headers included, is larger than the broker takes.
    TooLarge {
        /// Bytes of headers and payload.
        size: usize,
        /// The broker's `max_payload`, bytes.
        limit: usize,
    },
    /// Anything else, by kind.
    Error(Error),
}

impl Refusal {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Error(Error::new(kind, message))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge { size, limit } => {
                Self::new(ErrorKind::PayloadTooLarge, too_large(size, limit))
            }
            Refusal::Error(error) => error,
        }
    }
}

/// The text of a `payload_too_large` error.
pub fn too_large(size: usize, limit: usize) -> String {
    format!("frame is {size} bytes with its headers; allowed: {limit}")
}
