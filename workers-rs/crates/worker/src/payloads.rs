//! Frames beside the broker: where a request's is read, and where a result's goes.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use npufleet_payload::INLINE_BYTES;
use npufleet_payload::arena::{Arena, Folder, Peers, View};
use npufleet_wire::{Claim, Error, ErrorKind, Result};

use crate::events::log;

/// How long after its deadline a result that nobody took is kept.
const GRACE: Duration = Duration::from_secs(1);

/// How long a worker that leaves waits for whoever reads its last results, and how often it looks.
const LAST_READERS: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// This worker's arena, made when the first result goes there, and those of others.
pub(crate) struct Payloads {
    folder: Option<Folder>,
    peers: Peers,
    arena: OnceLock<Option<Arena>>,
}

impl Payloads {
    pub(crate) fn new() -> Self {
        let folder = Folder::from_environment();
        Self {
            peers: Peers::new(folder.clone()),
            folder,
            arena: OnceLock::new(),
        }
    }

    /// The frame that a claim names, read where it lies.
    ///
    /// # Errors
    /// `invalid_frame` for what is no claim, `payload_lost` when the frame is not to be had.
    pub(crate) fn fetch(&self, claim: &str) -> Result<View> {
        let claim: Claim = claim.parse()?;
        self.peers.look(&claim)?.ok_or_else(|| {
            let message = format!("{claim} is in an arena that this worker cannot open");
            Error::new(ErrorKind::PayloadLost, message)
        })
    }

    /// Puts a result into a slot for the caller with the arena `caller`; none when it is small, when the caller does not
    /// see the same memory, or when there is no room.
    pub(crate) fn place(&self, frame: &[u8], caller: [u8; 16], deadline: Instant) -> Option<Claim> {
        if frame.len() < INLINE_BYTES || !self.peers.can_open(caller) {
            return None;
        }
        let slot = self.arena()?.put(&[frame])?;
        Some(slot.lend(deadline + GRACE, caller))
    }

    /// Waits until the last results were read, but not for long, and removes the arena.
    pub(crate) async fn close(&self) {
        let Some(arena) = self.arena.get().and_then(Option::as_ref) else {
            return;
        };
        let since = Instant::now();
        while arena.usage().slots > 0 && since.elapsed() < LAST_READERS {
            tokio::time::sleep(LOOK).await;
            arena.sweep();
        }
        arena.unlink();
    }

    fn arena(&self) -> Option<&Arena> {
        let make = || {
            let made = Arena::create(self.folder.as_ref()?, None);
            made.inspect_err(|error| log(format_args!("results go inline: {}", error.message)))
                .ok()
        };
        self.arena.get_or_init(make).as_ref()
    }
}
