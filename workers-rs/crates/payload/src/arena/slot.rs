//! A slot of this process's arena.

use std::sync::Arc;
use std::time::Instant;

use npufleet_wire::Claim;

use super::layout::Entry;
use super::owner::Inner;
use super::peers::Caller;
use super::words::Word as _;

/// A slot of this process's arena, which is taken back when this is dropped.
pub struct Slot {
    inner: Arc<Inner>,
    index: u32,
    length: usize,
    /// The next generation, which others are told of once the frame is whole.
    generation: u64,
    is_published: bool,
    is_lent: bool,
}

impl Slot {
    pub(crate) fn new(inner: Arc<Inner>, index: u32, length: usize) -> Self {
        let generation = inner.map.word(Entry::of(index).generation()).get() + 1;
        Self {
            inner,
            index,
            length,
            generation,
            is_published: false,
            is_lent: false,
        }
    }

    /// Its bytes, to be written before [`Slot::publish`].
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.inner
            .map
            .bytes_mut(self.inner.places.offset(self.index), self.length)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.inner.map.bytes(self.inner.places.offset(self.index), self.length)
    }

    /// Where its first byte is in this process.
    pub fn address(&self) -> usize {
        self.inner.map.address(self.inner.places.offset(self.index))
    }

    /// Writes over its first bytes while others may read it: to be done only when what they do with it is over.
    pub fn rewrite(&self, bytes: &[u8]) {
        let start = self.inner.places.offset(self.index);
        let length = bytes.len().min(self.length);
        self.inner
            .map
            .bytes_mut(start, length)
            .copy_from_slice(&bytes[..length]);
    }

    /// Lets others read it.
    pub fn publish(&mut self) {
        self.inner
            .map
            .word(Entry::of(self.index).generation())
            .set(self.generation);
        self.is_published = true;
    }

    /// What others find it by, once it is published.
    pub fn claim(&self) -> Claim {
        self.claim_of(self.length)
    }

    /// What others find its first bytes by.
    pub fn claim_of(&self, length: usize) -> Claim {
        Claim {
            arena: self.inner.id(),
            slot: self.index,
            generation: self.generation,
            length: length.min(self.length) as u64,
        }
    }

    /// Leaves it to a caller, who releases it; taken back if it is not taken until `until`, or when the caller is seen to
    /// have died.
    pub fn lend(mut self, until: Instant, caller: Option<Caller>) -> Claim {
        let claim = self.claim();
        self.is_lent = true;
        self.inner.lend(self.index, self.generation, until, caller);
        claim
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // What a forked child drops is its parent's still.
        if self.is_lent || !self.inner.is_ours() {
            return;
        }
        if self.is_published {
            self.inner.take_back(self.index, self.generation);
        } else {
            self.inner.places.free(self.index);
        }
    }
}
