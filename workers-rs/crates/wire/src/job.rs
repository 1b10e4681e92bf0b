//! Durable jobs: how often, how long and in which order; the contract's section `jobs`.

use std::time::Duration;

use crate::{ErrorKind, Lane};

/// What a job's id looks like.
pub const ID_PATTERN: &str = "[A-Za-z0-9_-]{1,64}";
/// Attempts after the first, unless the job says otherwise.
pub const RETRIES: u32 = 5;
/// The most that a job may ask for.
pub const RETRIES_LIMIT: u32 = 100;
/// How long one attempt may take, unless the job says otherwise.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(600);
/// What a job waits after its first attempt.
pub const RETRY_FIRST: Duration = Duration::from_millis(500);
/// What it waits at most.
pub const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// Bytes of a frame that still travels in the message.
pub const INLINE_BYTES: usize = 524_288;
/// What a job's events say about it.
pub const STATES: [&str; 7] = [
    "scheduled",
    "queued",
    "running",
    "retrying",
    "succeeded",
    "failed",
    "cancelled",
];

/// The least wait after attempt `attempt` (from 1) failed; to be lengthened at random, by up to a half.
pub fn retry_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    (RETRY_FIRST * (1 << doublings)).min(RETRY_LONGEST)
}

/// How many places a lane gets in proportion to the others while all of them have work.
pub const fn weight(lane: Lane) -> u32 {
    1 << (Lane::ALL.len() - 1 - lane.index())
}

/// Whether another attempt cannot help.
pub const fn permanent(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidFrame
            | ErrorKind::InvalidParameter
            | ErrorKind::InvalidShape
            | ErrorKind::DeadlineExceeded
            | ErrorKind::PayloadLost
            | ErrorKind::PayloadTooLarge
            | ErrorKind::Cancelled
    )
}

/// Whether a Rust worker hands the job to the Python ones.
pub const fn handed_over(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Internal
            | ErrorKind::Unsupported
            | ErrorKind::DeviceLost
            | ErrorKind::Unavailable
            | ErrorKind::UnknownOperation
            | ErrorKind::UnknownModel
    )
}
