//! Other processes' arenas.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use parking_lot::RwLock;

use super::folder::{Folder, is_unlocked};
use super::fork;
use super::layout::{DATA, Entry, SLOTS, check};
use super::map::{Access, Map};
use super::view::View;
use super::words::{GENERATIONS, Word as _, take};

/// Arenas kept open; beyond, those of processes that are no more are closed, or all.
const KEPT: usize = 128;
/// How long an arena that is not here is not looked for again.
const ABSENT: Duration = Duration::from_secs(1);
/// How often it is looked whose owner is no more.
const SWEEP: Duration = Duration::from_secs(1);

/// Other processes' arenas, opened when a claim names one, and let go when their owner is no more.
pub struct Peers(Arc<Inner>);

struct Inner {
    folder: Option<Folder>,
    known: RwLock<HashMap<[u8; 16], Arc<Peer>, RandomState>>,
    /// Arenas that were looked for and are not here: those of other hosts, which each of their requests names.
    absent: RwLock<HashMap<[u8; 16], Instant>>,
    is_swept: AtomicBool,
}

/// A process that takes results by claim: its arena shows whether it lives, also when somebody removed the file.
#[derive(Clone)]
pub struct Caller(Arc<Peer>);

impl Caller {
    pub(crate) fn is_dead(&self) -> bool {
        self.0.is_dead()
    }

    /// Equal for the same arena.
    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// An arena of another process.
pub(crate) struct Peer {
    file: File,
    /// As much of the file as is known to be there, in bytes.
    length: AtomicU64,
    pub(crate) words: Map,
    pub(crate) data: Map,
}

impl Peers {
    /// The arenas in a folder; without one, none can be opened.
    pub fn new(folder: Option<Folder>) -> Self {
        Self(Arc::new(Inner {
            folder,
            known: RwLock::default(),
            absent: RwLock::default(),
            is_swept: AtomicBool::new(false),
        }))
    }

    /// Whether an arena is here, so that its owner sees the same memory as this process.
    pub fn can_open(&self, arena: [u8; 16]) -> bool {
        self.0.peer(arena).is_some()
    }

    /// The process with an arena; none when the arena is not here.
    pub fn caller(&self, arena: [u8; 16]) -> Option<Caller> {
        self.0.peer(arena).map(Caller)
    }

    /// Reads a request's frame, which its owner takes back when the call is over; none when the arena is not here.
    ///
    /// # Errors
    /// `invalid_frame` for what no owner claims, `payload_lost` when the frame is there no more.
    pub fn look(&self, claim: &Claim) -> Result<Option<View>> {
        self.view(claim, false)
    }

    /// Takes a reply's frame, which its owner uses again only after it was dropped; none when the arena is not here.
    ///
    /// # Errors
    /// As [`Peers::look`].
    pub fn take(&self, claim: &Claim) -> Result<Option<View>> {
        self.view(claim, true)
    }

    fn view(&self, claim: &Claim, is_lent: bool) -> Result<Option<View>> {
        if claim.slot >= SLOTS {
            let message = format!("claim has slot {}; allowed: below {SLOTS}", claim.slot);
            return Err(Error::new(ErrorKind::InvalidFrame, message));
        }
        let Some(peer) = self.0.peer(claim.arena) else {
            return Ok(None);
        };
        let entry = Entry::of(claim.slot);
        let offset = peer.words.word(entry.offset()).get();
        check(offset, peer.words.word(entry.capacity()).get(), claim.length)?;
        let lost = |why: &str| Error::new(ErrorKind::PayloadLost, format!("{claim} {why}"));
        if !peer.has(offset.saturating_add(claim.length)) {
            return Err(lost("is cut off"));
        }
        let generation = peer.words.word(entry.generation());
        let is_there = (1..GENERATIONS).contains(&claim.generation)
            && if is_lent {
                take(generation, peer.words.word(entry.receiver()), claim.generation)
            } else {
                generation.get() == claim.generation
            };
        if !is_there {
            return Err(lost("is not there any more"));
        }
        Ok(Some(View::new(peer, *claim, offset, is_lent)))
    }

    /// Lets go of the arenas of processes that are no more, so that their memory is free, and removes their files;
    /// frames that are still read stay. Done every second by itself.
    pub fn sweep(&self) {
        self.0.sweep();
    }
}

impl Inner {
    fn peer(self: &Arc<Self>, arena: [u8; 16]) -> Option<Arc<Peer>> {
        let known = self.known.read().get(&arena).cloned();
        if let Some(peer) = known.filter(|peer| !peer.is_broken()) {
            return Some(peer);
        }
        let folder = self.folder.as_ref()?;
        let absent = self.absent.read().get(&arena).copied();
        if absent.is_some_and(|since| since.elapsed() < ABSENT) {
            return None;
        }
        fork::watch().ok()?;
        let Some((file, limit)) = folder.open(arena) else {
            let mut absent = self.absent.write();
            if absent.len() >= KEPT {
                absent.clear();
            }
            absent.insert(arena, Instant::now());
            return None;
        };
        let peer = Arc::new(Peer {
            words: Map::of_another(&file, DATA, Access::Write).ok()?,
            data: Map::of_another(&file, limit, Access::Read).ok()?,
            length: AtomicU64::new(0),
            file,
        });
        let mut known = self.known.write();
        if known.len() >= KEPT {
            known.retain(|_, peer| !peer.is_dead());
            if known.len() >= KEPT {
                known.clear();
            }
        }
        known.insert(arena, Arc::clone(&peer));
        drop(known);
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            let swept = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("npufleet-peers".to_owned());
            // Without a thread memory of the dead is given back later, when many are known.
            let _ = thread.spawn(move || keep_sweeping(&swept));
        }
        Some(peer)
    }

    fn sweep(&self) {
        let Some(folder) = &self.folder else { return };
        let dead: Vec<_> = {
            let known = self.known.read();
            let dead = known.iter().filter(|(_, peer)| peer.is_dead());
            dead.map(|(id, _)| *id).collect()
        };
        if !dead.is_empty() {
            self.known.write().retain(|id, _| !dead.contains(id));
        }
        // Also those that were never opened here: whoever had may be dead too.
        folder.clean();
    }
}

fn keep_sweeping(swept: &Weak<Inner>) {
    loop {
        std::thread::sleep(SWEEP);
        let Some(peers) = swept.upgrade() else { return };
        peers.sweep();
    }
}

impl Peer {
    /// Whether the file reaches so far, and no further than it said that it would.
    fn has(&self, end: u64) -> bool {
        if end > self.data.len() {
            return false;
        }
        if self.length.load(Ordering::Relaxed) >= end {
            return true;
        }
        let length = self.file.metadata().map_or(0, |found| found.len());
        self.length.store(length, Ordering::Relaxed);
        length >= end
    }

    /// Whether the owner is no more.
    fn is_dead(&self) -> bool {
        is_unlocked(&self.file)
    }

    fn is_broken(&self) -> bool {
        self.words.is_broken() || self.data.is_broken()
    }
}
