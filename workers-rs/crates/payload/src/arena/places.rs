//! The places of an arena: which are free, how large they are, and how much memory is behind them.

use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};

use super::free::Free;
use super::layout::{CLASSES, DATA, Entry, PAGE, SLOTS, capacity};
use super::map::Map;
use super::words::Word as _;

/// Set while a place is to become free when nobody borrows it any more.
const FREED: u32 = 1 << 31;
/// Memory of free places of at least this is given back, in bytes.
const LARGE: u64 = 1 << 16;
/// After how long.
const IDLE: Duration = Duration::from_secs(3);

/// What only the owner knows of a place.
#[derive(Default)]
struct Place {
    class: AtomicUsize,
    offset: AtomicU64,
    /// Bytes from the beginning that have memory.
    backed: AtomicU64,
    /// How many borrow it, and [`FREED`].
    borrowed: AtomicU32,
    /// When it became free, if it is [`LARGE`], in milliseconds since the arena was made.
    freed_at: AtomicU64,
}

/// The places of an arena. Taking and freeing one needs no lock unless the file has to grow.
pub(crate) struct Places {
    file: File,
    all: Box<[Place]>,
    free: Free,
    growth: Mutex<Growth>,
    /// Bytes with memory behind them, and how many there may be.
    backed: AtomicU64,
    cap: u64,
    limit: u64,
    used: AtomicUsize,
    began: Instant,
}

struct Growth {
    next: u32,
    end: u64,
}

impl Places {
    /// Places in a file that may take `cap` bytes of memory and grow to `limit` bytes.
    pub(crate) fn new(file: File, cap: u64, limit: u64) -> Self {
        Self {
            file,
            all: (0..SLOTS).map(|_| Place::default()).collect(),
            free: Free::new(SLOTS),
            growth: Mutex::new(Growth { next: 0, end: DATA }),
            backed: AtomicU64::new(0),
            cap,
            limit,
            used: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }

    /// Takes a free place of a class, with memory for so many bytes, or makes one.
    pub(crate) fn take(&self, class: usize, length: usize, map: &Map) -> Option<u32> {
        let slot = self.free.pop(class).or_else(|| self.grow(class, map))?;
        if !self.back(slot, length as u64) {
            self.free.push(class, slot);
            return None;
        }
        self.all[slot as usize].borrowed.store(0, Ordering::Relaxed);
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(slot)
    }

    /// How far the file may grow, in bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn offset(&self, slot: u32) -> u64 {
        self.all[slot as usize].offset.load(Ordering::Relaxed)
    }

    pub(crate) fn class(&self, slot: u32) -> usize {
        self.all[slot as usize].class.load(Ordering::Relaxed)
    }

    /// Makes a place free, as soon as nobody borrows it.
    pub(crate) fn free(&self, slot: u32) {
        if self.all[slot as usize].borrowed.fetch_or(FREED, Ordering::AcqRel) == 0 {
            self.put_back(slot);
        }
    }

    /// Keeps a place from being used again; false when it is free already.
    pub(crate) fn borrow(&self, slot: u32) -> bool {
        let more = |borrowed: u32| (borrowed & FREED == 0).then_some(borrowed + 1);
        let place = &self.all[slot as usize];
        place
            .borrowed
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Ends a [`Places::borrow`].
    pub(crate) fn give_back(&self, slot: u32) {
        if self.all[slot as usize].borrowed.fetch_sub(1, Ordering::AcqRel) == FREED + 1 {
            self.put_back(slot);
        }
    }

    /// Returns bytes of memory, and places in use.
    pub(crate) fn usage(&self) -> (u64, usize) {
        (self.backed.load(Ordering::Relaxed), self.used.load(Ordering::Relaxed))
    }

    /// Gives back the memory of large places that were not used for a while; with `all`, of every free one.
    pub(crate) fn trim(&self, all: bool) {
        let now = self.now();
        let is_idle = |slot: u32| {
            let place = &self.all[slot as usize];
            let idle = now.saturating_sub(place.freed_at.load(Ordering::Relaxed));
            place.backed.load(Ordering::Relaxed) > 0 && (all || idle > IDLE.as_millis() as u64)
        };
        for class in (0..CLASSES).filter(|class| all || capacity(*class) >= LARGE) {
            if !self.free.any(class, is_idle) {
                continue;
            }
            // Nobody else writes to them meanwhile.
            for slot in self.free.pop_all(class).into_iter().rev() {
                if is_idle(slot) {
                    self.unback(&self.all[slot as usize]);
                }
                self.free.push(class, slot);
            }
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn put_back(&self, slot: u32) {
        let place = &self.all[slot as usize];
        let class = place.class.load(Ordering::Relaxed);
        if capacity(class) >= LARGE {
            place.freed_at.store(self.now(), Ordering::Relaxed);
        }
        self.used.fetch_sub(1, Ordering::Relaxed);
        self.free.push(class, slot);
    }

    /// Makes a new place at the end of the file.
    fn grow(&self, class: usize, map: &Map) -> Option<u32> {
        let mut growth = self.growth.lock();
        let (slot, offset) = (growth.next, growth.end);
        let end = offset + capacity(class);
        if slot == SLOTS || end > self.limit || self.file.set_len(end).is_err() {
            return None;
        }
        (growth.next, growth.end) = (slot + 1, end);
        let place = &self.all[slot as usize];
        place.class.store(class, Ordering::Relaxed);
        place.offset.store(offset, Ordering::Relaxed);
        map.word(Entry::of(slot).offset()).set(offset);
        map.word(Entry::of(slot).capacity()).set(capacity(class));
        Some(slot)
    }

    /// Puts memory behind the first bytes of a place, so that writing to them cannot fail; false when there is none.
    fn back(&self, slot: u32, length: u64) -> bool {
        let place = &self.all[slot as usize];
        let (has, wanted) = (place.backed.load(Ordering::Relaxed), length.next_multiple_of(PAGE));
        if wanted <= has {
            return true;
        }
        let more = wanted - has;
        let within = |backed: u64| backed.checked_add(more).filter(|backed| *backed <= self.cap);
        let reserve = || self.backed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        if reserve().is_err() {
            // Free places of other sizes may have what is missing.
            self.trim(true);
            if reserve().is_err() {
                return false;
            }
        }
        let offset = place.offset.load(Ordering::Relaxed) + has;
        if fallocate(&self.file, FallocateFlags::empty(), offset, more).is_err() {
            self.backed.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        place.backed.store(wanted, Ordering::Relaxed);
        true
    }

    fn unback(&self, place: &Place) {
        let backed = place.backed.load(Ordering::Relaxed);
        let offset = place.offset.load(Ordering::Relaxed);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // A file system without holes keeps the memory.
        if backed > 0 && fallocate(&self.file, hole, offset, backed).is_ok() {
            place.backed.store(0, Ordering::Relaxed);
            self.backed.fetch_sub(backed, Ordering::Relaxed);
        }
    }
}
