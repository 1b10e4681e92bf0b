//! A claimed frame in another process's arena.

use std::sync::Arc;

use bytes::Bytes;
use npufleet_wire::Claim;

use super::fork::forks;
use super::layout::Entry;
use super::peers::Peer;
use super::words::{Word as _, release};

/// A claimed frame, read where it lies. A reply's is released when the last clone is dropped, [`View::bytes`] included.
#[derive(Clone)]
pub struct View(Arc<Reading>);

struct Reading {
    peer: Arc<Peer>,
    claim: Claim,
    offset: u64,
    is_lent: bool,
    /// How often this process had been forked when it took the frame.
    forks: u32,
}

impl View {
    pub(crate) fn new(peer: Arc<Peer>, claim: Claim, offset: u64, is_lent: bool) -> Self {
        Self(Arc::new(Reading {
            peer,
            claim,
            offset,
            is_lent,
            forks: forks(),
        }))
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Whether the frame is still the claimed one; what was read of another is void.
    pub fn is_intact(&self) -> bool {
        let generation = self.0.peer.words.word(Entry::of(self.0.claim.slot).generation());
        generation.get() == self.0.claim.generation && !self.0.peer.data.is_broken()
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.0.peer.data.bytes(self.0.offset, self.0.claim.length as usize)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // What a forked child drops its parent reads still.
        if self.is_lent && self.forks == forks() {
            release(
                self.peer.words.word(Entry::of(self.claim.slot).receiver()),
                self.claim.generation,
            );
        }
    }
}
