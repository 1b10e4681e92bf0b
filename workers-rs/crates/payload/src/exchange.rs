//! The arenas as one process uses them: its own, made when it is first needed, and those of others.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use npufleet_wire::{Claim, Error};

use crate::INLINE_BYTES;
use crate::arena::{Arena, Folder, Peers};

/// How long after its deadline a result that nobody took is kept.
pub const GRACE: Duration = Duration::from_secs(1);

/// The arenas in the folder that the environment names.
pub struct Exchange {
    folder: Option<Folder>,
    peers: Peers,
    own: OnceLock<Option<Arena>>,
}

impl Exchange {
    /// Looks up the folder; no file is made yet.
    pub fn from_environment() -> Self {
        let folder = Folder::from_environment();
        Self {
            peers: Peers::new(folder.clone()),
            folder,
            own: OnceLock::new(),
        }
    }

    /// The arenas of others.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// This process's arena, made if need be. Where it cannot be made, `refused` hears once why; where the environment
    /// wants none there is none.
    pub fn own(&self, refused: impl FnOnce(&Error)) -> Option<&Arena> {
        let make = || Arena::create(self.folder.as_ref()?, None).inspect_err(refused).ok();
        self.own.get_or_init(make).as_ref()
    }

    /// This process's arena, if it was made.
    pub fn made(&self) -> Option<&Arena> {
        self.own.get()?.as_ref()
    }

    /// Puts a result into a slot for the caller with the arena `caller`; none when it is small, when the caller does not
    /// see the same memory, or when there is no room.
    pub fn lend(
        &self,
        frame: &[u8],
        caller: [u8; 16],
        deadline: Instant,
        refused: impl FnOnce(&Error),
    ) -> Option<Claim> {
        if frame.len() < INLINE_BYTES || !self.peers.can_open(caller) {
            return None;
        }
        let slot = self.own(refused)?.put(&[frame])?;
        Some(slot.lend(deadline + GRACE, caller))
    }
}
