//! A process's own arena.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_wire::{Claim, Error, ErrorKind, Result};

use super::folder::Folder;
use super::fork;
use super::layout::{DATA, Entry, LARGEST_FILE, SLOTS, class};
use super::lent::{Lending, Lent};
use super::map::Map;
use super::peers::Caller;
use super::places::Places;
use super::slot::Slot;
use super::words::Word as _;
use crate::channel::Source;

/// Memory that an arena may take unless it is told otherwise, in bytes.
const CAP: u64 = 1 << 30;
/// Addresses for each byte of memory: places keep theirs while they have no memory.
const ROOM: u64 = 16;
/// How many released slots are taken back when one is needed: more than one, so that they do not add up.
const TAKEN_BACK: usize = 2;
/// How often leases and idle memory are looked at.
const SWEEP: Duration = Duration::from_millis(500);

/// A process's own shared memory, in which it puts frames for others.
#[derive(Clone)]
pub struct Arena(Arc<Inner>);

/// How much of an arena is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory behind the slots, in bytes.
    pub bytes: u64,
    /// Slots that are not free.
    pub slots: usize,
}

pub(crate) struct Inner {
    id: [u8; 16],
    name: String,
    path: PathBuf,
    pub(crate) map: Map,
    pub(crate) places: Places,
    lending: Lending,
    /// How often this process had been forked when it made the arena.
    forks: u32,
}

impl Arena {
    /// Makes an arena that takes at most `cap` bytes of memory (default: 1 GiB); its file goes when the last clone and
    /// the last slot are dropped, or when the next process starts.
    ///
    /// # Errors
    /// `unavailable` when the folder is not there, is not ours alone, or takes nothing.
    pub fn create(folder: &Folder, cap: Option<u64>) -> Result<Self> {
        let cap = cap.unwrap_or(CAP);
        let limit = (DATA + cap.saturating_mul(ROOM)).min(LARGEST_FILE);
        let id = random_id()?;
        let failed = |error: std::io::Error| Error::new(ErrorKind::Unavailable, format!("no shared memory: {error}"));
        fork::watch().map_err(failed)?;
        let (file, path) = folder.create(id, limit).map_err(failed)?;
        let map = Map::own(&file, limit).map_err(failed)?;
        let inner = Arc::new(Inner {
            id,
            name: super::folder::name(id),
            path,
            map,
            places: Places::new(file, cap, limit),
            lending: Lending::new(),
            forks: fork::forks(),
        });
        let watched = Arc::downgrade(&inner);
        std::thread::Builder::new()
            .name("npufleet-arena".to_owned())
            .spawn(move || sweep(&watched))
            .map_err(failed)?;
        Ok(Self(inner))
    }

    /// The id that claims name it by.
    pub fn id(&self) -> [u8; 16] {
        self.0.id
    }

    /// The id as text, for `Npu-Accept`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Takes a slot for a frame of so many bytes; none when there is no room, or in a forked child.
    pub fn take(&self, length: usize) -> Option<Slot> {
        let inner = &self.0;
        let class = class(length).filter(|_| inner.is_ours())?;
        for _ in 0..TAKEN_BACK {
            let Some((slot, generation)) = inner.lending.released(class, &inner.map) else {
                break;
            };
            inner.take_back(slot, generation);
        }
        let slot = inner.places.take(class, length, &inner.map).or_else(|| {
            inner.sweep();
            inner.places.take(class, length, &inner.map)
        })?;
        Some(Slot::new(Arc::clone(inner), slot, length))
    }

    /// Puts a frame into a slot, whole, from its parts; none when there is no room.
    pub fn put(&self, parts: &[&[u8]]) -> Option<Slot> {
        let mut slot = self.take(parts.iter().map(|part| part.len()).sum())?;
        let mut rest = slot.bytes_mut();
        for part in parts {
            let (place, further) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = further;
        }
        slot.publish();
        Some(slot)
    }

    /// How much is in use.
    pub fn usage(&self) -> Usage {
        let (bytes, slots) = self.0.places.usage();
        Usage { bytes, slots }
    }

    /// Whether an address lies in this arena.
    pub fn contains(&self, address: usize) -> bool {
        let start = self.0.map.address(0);
        (start..start + self.0.places.limit() as usize).contains(&address)
    }

    /// Removes the file: nobody opens it any more. Who has it open already may go on reading.
    pub fn unlink(&self) {
        self.0.unlink();
    }

    /// Takes back what was released, what nobody took in time, and what callers that died had.
    pub fn sweep(&self) {
        self.0.sweep();
    }
}

impl Source for Arena {
    fn arena(&self) -> [u8; 16] {
        self.0.id
    }

    fn borrow(&self, claim: &Claim) -> Result<Bytes> {
        let inner = &self.0;
        let lost = || Error::new(ErrorKind::PayloadLost, format!("{claim} is not there any more"));
        if claim.slot >= SLOTS {
            let message = format!("claim has slot {}; allowed: below {SLOTS}", claim.slot);
            return Err(Error::new(ErrorKind::InvalidFrame, message));
        }
        if !inner.places.borrow(claim.slot) {
            return Err(lost());
        }
        // Given back when it is dropped, also when it turns out to be another frame.
        let borrowed = Borrowed {
            inner: Arc::clone(inner),
            slot: claim.slot,
            length: claim.length as usize,
        };
        let entry = Entry::of(claim.slot);
        if inner.map.word(entry.generation()).get() != claim.generation {
            return Err(lost());
        }
        if claim.length > inner.map.word(entry.capacity()).get() {
            let message = format!("claim has {} bytes; its slot is smaller", claim.length);
            return Err(Error::new(ErrorKind::InvalidFrame, message));
        }
        Ok(Bytes::from_owner(borrowed))
    }

    fn release(&self, slot: u32, generation: u64) {
        if slot >= SLOTS {
            return;
        }
        let entry = Entry::of(slot);
        // Said in the place of a receiver that cannot write here; a late word must not be one about the next frame.
        if self.0.map.word(entry.generation()).get() == generation {
            super::words::release(self.0.map.word(entry.receiver()), generation);
        }
    }
}

/// A frame that is being sent from its slot.
struct Borrowed {
    inner: Arc<Inner>,
    slot: u32,
    length: usize,
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        self.inner.map.bytes(self.inner.places.offset(self.slot), self.length)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.inner.places.give_back(self.slot);
    }
}

impl Inner {
    pub(crate) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Lends a slot to a caller.
    pub(crate) fn lend(&self, slot: u32, generation: u64, until: Instant, caller: Option<Caller>) {
        let lent = Lent {
            slot,
            generation,
            until,
            caller,
            ended: false,
        };
        self.lending.lend(self.places.class(slot), lent);
    }

    /// Takes a slot back from whoever may read it.
    pub(crate) fn take_back(&self, slot: u32, generation: u64) {
        self.map.word(Entry::of(slot).generation()).set(generation + 1);
        self.places.free(slot);
    }

    fn unlink(&self) {
        if self.is_ours() {
            // Whoever starts next removes it otherwise.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Whether this is the process that made it, and no child of that.
    pub(crate) fn is_ours(&self) -> bool {
        fork::forks() == self.forks
    }

    fn sweep(&self) {
        if self.is_ours() {
            self.lending.sweep(&self.map, Instant::now(), |slot, generation| {
                self.take_back(slot, generation);
            });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.unlink();
    }
}

fn sweep(watched: &Weak<Inner>) {
    loop {
        std::thread::sleep(SWEEP);
        let Some(inner) = watched.upgrade() else { return };
        inner.sweep();
        inner.places.trim(false);
    }
}

fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    let filled = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(16) => Ok(id),
        _ => Err(Error::new(ErrorKind::Internal, "the system gives no random numbers")),
    }
}
