//! Where askers come in: plain ones at a door of ours, those with CURVE through libzmq.

use std::time::Duration;

use bytes::Bytes;

/// The thread can serve nobody any more.
pub(super) struct Closed;

/// What an asker said.
pub(super) struct Said {
    /// Who it was, as long as its connection lasts.
    pub(super) peer: Bytes,
    /// The only part of its message; none where there were several.
    pub(super) request: Option<Vec<u8>>,
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It leaves, and shares its bytes until it has left.
    Yes,
    /// There is no room for it yet.
    Full,
    /// The asker left.
    Gone,
}

/// All askers' connections, for one thread.
pub(super) trait Door: Send {
    /// Waits until an asker said something or there is room for answers, but no longer than `time`; false when the owner
    /// is to stop.
    fn wait(&mut self, time: Duration) -> Result<bool, Closed>;

    /// What was said next; none when that was all.
    fn hear(&mut self) -> Result<Option<Said>, Closed>;

    /// Sends an answer of two parts.
    fn send(&mut self, peer: &[u8], head: &[u8], second: Bytes) -> Result<Sent, Closed>;
}
