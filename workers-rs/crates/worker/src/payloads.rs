//! Frames beside the broker: where a request's is read, and where a result's goes.

use std::time::{Duration, Instant};

use npufleet_payload::arena::View;
use npufleet_payload::exchange::Exchange;
use npufleet_wire::{Claim, Error, ErrorKind, Result};

use crate::events::log;

/// How long a worker that leaves waits for whoever reads its last results, and how often it looks.
const LAST_READERS: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// This worker's arena, made when the first result goes there, and those of others.
pub(crate) struct Payloads(Exchange);

impl Payloads {
    pub(crate) fn new() -> Self {
        Self(Exchange::from_environment())
    }

    /// The frame that a claim names, read where it lies.
    ///
    /// # Errors
    /// `invalid_frame` for what is no claim, `payload_lost` when the frame is not to be had.
    pub(crate) fn fetch(&self, claim: &str) -> Result<View> {
        let claim: Claim = claim.parse()?;
        self.0.peers().look(&claim)?.ok_or_else(|| {
            let message = format!("{claim} is in an arena that this worker cannot open");
            Error::new(ErrorKind::PayloadLost, message)
        })
    }

    /// Puts a result into a slot for the caller with the arena `caller`; none when it is to go inline.
    pub(crate) fn place(&self, frame: &[u8], caller: [u8; 16], deadline: Instant) -> Option<Claim> {
        self.0.lend(frame, caller, deadline, |error| {
            log(format_args!("results go inline: {}", error.message));
        })
    }

    /// Waits until the last results were read, but not for long, and removes the arena.
    pub(crate) async fn close(&self) {
        let Some(arena) = self.0.made() else { return };
        let since = Instant::now();
        while arena.usage().slots > 0 && since.elapsed() < LAST_READERS {
            tokio::time::sleep(LOOK).await;
            arena.sweep();
        }
        arena.unlink();
    }
}
