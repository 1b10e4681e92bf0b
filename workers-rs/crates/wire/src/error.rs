//! How a request fails: a kind that is API, a text that is not.

use std::fmt;
use std::time::Duration;

/// What may be done about a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Sending it again gives the same answer.
    No,
    /// The same engine may succeed later.
    Yes,
    /// Another engine may succeed now.
    OtherEngine,
    /// Sending everything again, with the payload, may succeed.
    SendAgain,
}

impl Retry {
    /// The word that the contract uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::OtherEngine => "other_engine",
            Self::SendAgain => "send_again",
        }
    }
}

/// The kinds of failure, the same in every language; see the table in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The bytes are no frame, or exceed a limit.
    InvalidFrame,
    /// A parameter is unknown, mistyped or out of range.
    InvalidParameter,
    /// A tensor is missing, or has a wrong type, rank or shape.
    InvalidShape,
    /// No such operation.
    UnknownOperation,
    /// No such model, or not this version of it.
    UnknownModel,
    /// The deadline passed before an answer.
    DeadlineExceeded,
    /// A claim is gone or stale.
    PayloadLost,
    /// A payload is larger than the transport carries.
    PayloadTooLarge,
    /// The queue is full; carries a retry-after.
    Overloaded,
    /// The caller cancelled.
    Cancelled,
    /// A defect in the engine.
    Internal,
    /// This engine cannot do it; another may.
    Unsupported,
    /// The device failed during the work.
    DeviceLost,
    /// Nobody is there to do it.
    Unavailable,
    /// Whether a job was accepted is not known.
    Unknown,
}

impl ErrorKind {
    /// Every kind, in the contract's order.
    pub const ALL: [Self; 15] = [
        Self::InvalidFrame,
        Self::InvalidParameter,
        Self::InvalidShape,
        Self::UnknownOperation,
        Self::UnknownModel,
        Self::DeadlineExceeded,
        Self::PayloadLost,
        Self::PayloadTooLarge,
        Self::Overloaded,
        Self::Cancelled,
        Self::Internal,
        Self::Unsupported,
        Self::DeviceLost,
        Self::Unavailable,
        Self::Unknown,
    ];

    /// The value of `Nats-Service-Error-Code`.
    pub const fn code(self) -> u16 {
        match self {
            Self::InvalidFrame | Self::InvalidParameter | Self::InvalidShape => 400,
            Self::UnknownOperation | Self::UnknownModel => 404,
            Self::DeadlineExceeded => 408,
            Self::PayloadLost => 410,
            Self::PayloadTooLarge => 413,
            Self::Overloaded => 429,
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::Unsupported => 501,
            Self::DeviceLost | Self::Unavailable => 503,
            Self::Unknown => 504,
        }
    }

    /// The value of `Npu-Error-Kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidFrame => "invalid_frame",
            Self::InvalidParameter => "invalid_parameter",
            Self::InvalidShape => "invalid_shape",
            Self::UnknownOperation => "unknown_operation",
            Self::UnknownModel => "unknown_model",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::PayloadLost => "payload_lost",
            Self::PayloadTooLarge => "payload_too_large",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::Unsupported => "unsupported",
            Self::DeviceLost => "device_lost",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// The kind that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What the sender may do about it.
    pub const fn retry(self) -> Retry {
        match self {
            Self::UnknownOperation
            | Self::UnknownModel
            | Self::Internal
            | Self::Unsupported
            | Self::DeviceLost
            | Self::Unavailable => Retry::OtherEngine,
            Self::PayloadLost | Self::Unknown => Retry::SendAgain,
            Self::Overloaded => Retry::Yes,
            Self::InvalidFrame
            | Self::InvalidParameter
            | Self::InvalidShape
            | Self::DeadlineExceeded
            | Self::PayloadTooLarge
            | Self::Cancelled => Retry::No,
        }
    }

    /// Whether a worker that meets it hands the request to the other engine instead of answering.
    pub const fn hands_over(self) -> bool {
        matches!(self, Self::Internal | Self::Unsupported | Self::DeviceLost)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A failed request: match on `kind`, show `message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What happened, as API.
    pub kind: ErrorKind,
    /// What happened, for people.
    pub message: String,
    /// When to come back, with [`ErrorKind::Overloaded`].
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error without retry-after.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
        }
    }

    /// An [`ErrorKind::Overloaded`] with the time after which to come back.
    pub fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            kind: ErrorKind::Overloaded,
            message: message.into(),
            retry_after: Some(retry_after),
        }
    }
}

/// The result of everything that can fail as a request fails.
pub type Result<T> = std::result::Result<T, Error>;
