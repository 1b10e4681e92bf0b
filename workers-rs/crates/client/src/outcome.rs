//! What is asked of the fleet and what comes of it.

use bytes::Bytes;
use npufleet_link::{HeaderBlock, Headers, Message, Pieces, Subject};
use npufleet_wire::{Error, ErrorKind};

/// One call, ready to be published.
pub struct Request {
    /// Where the call goes. Calls that share one subject best share one object: cloning it is cheap.
    pub subject: Subject,
    /// When it must have been answered, in unix microseconds; travels as `Npu-Deadline` unless it is stored.
    pub deadline_us: u64,
    /// Further headers, such as `traceparent`.
    pub headers: HeaderBlock,
    /// The frame.
    pub payload: Bytes,
    /// Whether the caller wants to hear when half of the time has passed.
    pub half_time: bool,
    /// Present when it is no call: a stream stores it, and its answer is the broker's acknowledgement.
    pub store: Option<Store>,
}

/// What a message to a stream has instead of the headers of a call.
///
/// Nobody is told when it is given up. When nobody knows whether it was stored it fails as `unknown`.
pub struct Store {
    /// All of its headers.
    pub headers: HeaderBlock,
    /// Messages that leave right before it: the rest of its batch.
    pub ahead: Pieces,
    /// How many messages that makes, itself included.
    pub count: usize,
    /// Whether it may be stored together with others of the same stream that are submitted before the next
    /// [`flush`](crate::Client::flush): the broker then writes them to its disk at once.
    pub gathers: bool,
}

/// An answer as it came from the broker.
#[derive(Debug)]
pub struct Reply {
    /// 0, or 503 when the broker knows nobody who listens on the subject.
    pub status: u16,
    /// The frame; empty when a worker reports an error. It shares memory with other answers: copy what is kept.
    pub payload: Bytes,
    /// The header lines as they came; [`Reply::header`] reads them.
    pub headers: Box<[u8]>,
    /// Whether it is a broker's word that everything that was to be stored is.
    pub is_stored: bool,
}

impl Reply {
    /// Returns the first value of a header, by its exact name.
    pub fn header(&self, name: &str) -> Option<&str> {
        Headers::new(&self.headers).get(name)
    }

    /// Returns what [`Reply::header`] does for several names, in one pass.
    pub fn header_each<const N: usize>(&self, names: [&str; N]) -> [Option<&str>; N] {
        Headers::new(&self.headers).get_each(names)
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        const NO_RESPONDERS: u16 = 503;
        let headers = message.headers();
        Self {
            status: if headers.status() == NO_RESPONDERS {
                NO_RESPONDERS
            } else {
                0
            },
            headers: headers.as_bytes().into(),
            payload: message.payload(),
            is_stored: false,
        }
    }
}

pub(crate) const CLOSED: &str = "the connection was closed";

/// What becomes of a submitted call.
#[derive(Debug)]
pub enum Outcome {
    /// Half of its time has passed; it goes on.
    HalfTime,
    /// Somebody answered, be it with an error.
    Reply(Reply),
    /// Nobody will: the deadline passed, or the connection was lost or closed.
    Failed(Error),
}

impl Outcome {
    /// How calls end that were in flight when this program closed the connection.
    pub fn closed() -> Self {
        Self::Failed(Error::new(ErrorKind::Unavailable, CLOSED))
    }
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
            Refusal::TooLarge { size, limit } => Self::new(ErrorKind::PayloadTooLarge, too_large(size, limit)),
            Refusal::Error(error) => error,
        }
    }
}

/// The text of a `payload_too_large` error.
pub fn too_large(size: usize, limit: usize) -> String {
    format!("frame is {size} bytes with its headers; allowed: {limit}")
}
