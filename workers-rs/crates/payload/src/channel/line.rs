//! What carries a connection's messages: a plain one by itself, one with CURVE through libzmq.

use std::time::{Duration, Instant};

use npufleet_wire::Result;

use super::Address;
use super::curve::CurveLine;
use super::incoming::Incoming;
use super::message::Answer;
use super::plain::PlainLine;

/// How often it is asked whether a frame is still wanted, at least.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Why a line goes no further.
#[derive(Debug)]
pub(super) enum Cut {
    /// The connection is gone; over another one the transfer may go on.
    Lost,
    /// There is no use in going on: the owner is not there or does not answer as one does.
    Useless(String),
    /// The deadline came.
    Late,
    /// The frame is wanted no longer.
    Unwanted,
}

impl Cut {
    /// What is said of bytes that no owner sends.
    pub(super) fn nonsense() -> Self {
        Self::Useless("its answer is not one to what was asked".to_owned())
    }
}

/// How long a frame is waited for.
pub(super) struct Patience<'a> {
    pub(super) deadline: Instant,
    pub(super) wanted: &'a dyn Fn() -> bool,
}

impl Patience<'_> {
    /// How long to wait before the next look, at most 100 ms.
    pub(super) fn look(&self) -> std::result::Result<Duration, Cut> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Cut::Late);
        }
        if !(self.wanted)() {
            return Err(Cut::Unwanted);
        }
        Ok(left.min(LOOK))
    }
}

/// A connection to an owner, for one thread at a time. An answer's parts are taken in their order.
pub(super) trait Line: Send {
    /// Waits until requests can be sent.
    fn prepare(&mut self, patience: &Patience<'_>) -> std::result::Result<(), Cut>;

    /// Sends a request; it does not wait.
    fn say(&mut self, request: &[u8]) -> std::result::Result<(), Cut>;

    /// Waits for the first part of the next answer; a second one follows.
    fn head(&mut self, patience: &Patience<'_>) -> std::result::Result<Answer, Cut>;

    /// Takes the second part as the next bytes of a frame.
    fn chunk(&mut self, incoming: &mut Incoming, patience: &Patience<'_>) -> std::result::Result<(), Cut>;

    /// Takes the second part as a text, or to be forgotten.
    fn text(&mut self, patience: &Patience<'_>) -> std::result::Result<String, Cut>;

    /// Whether the owner has not ended it while it was not used, as far as is known.
    fn is_open(&self) -> bool;
}

/// Begins to connect; whether somebody is there is found out by the first transfer.
pub(super) fn open(address: &Address) -> Result<Box<dyn Line>> {
    Ok(match address.key() {
        Some(key) => Box::new(CurveLine::open(address, key)?),
        None => Box::new(PlainLine::open(address)?),
    })
}
