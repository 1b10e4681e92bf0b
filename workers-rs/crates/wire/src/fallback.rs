//! Why a request left its first engine.

use crate::ErrorKind;

/// The word at the start of `Npu-Fallback-Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nobody listens on the call subject.
    NoResponders,
    /// Half of the call's time passed without an answer.
    NoAnswer,
    /// The first engine cannot do it.
    Unsupported,
    /// The first engine failed.
    Internal,
    /// The first engine's device failed.
    DeviceLost,
    /// The first engine is not there.
    Unavailable,
    /// The first engine does not know the operation.
    UnknownOperation,
    /// The first engine does not know the model.
    UnknownModel,
}

impl Reason {
    /// Every reason, in the contract's order.
    pub const ALL: [Self; 8] = [
        Self::NoResponders,
        Self::NoAnswer,
        Self::Unsupported,
        Self::Internal,
        Self::DeviceLost,
        Self::Unavailable,
        Self::UnknownOperation,
        Self::UnknownModel,
    ];

    /// The word that the contract uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoResponders => "no_responders",
            Self::NoAnswer => "no_answer",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
            Self::DeviceLost => "device_lost",
            Self::Unavailable => "unavailable",
            Self::UnknownOperation => "unknown_operation",
            Self::UnknownModel => "unknown_model",
        }
    }

    /// The reason that a header value (`reason` or `reason: text`) starts with.
    pub fn parse(value: &str) -> Option<Self> {
        let word = value.split_once(':').map_or(value, |(word, _)| word);
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The reason that an error gives, when another engine may do better.
    pub fn of(kind: ErrorKind) -> Option<Self> {
        Self::parse(kind.as_str())
    }
}
