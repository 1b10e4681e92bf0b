//! Frames that an owner lends, and what the tests of the channel do with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_payload::channel::{Address, Asker, Endpoint, Owner, Security, Source};
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use parking_lot::Mutex;

pub const ARENA: [u8; 16] = [7; 16];
pub const LONG: Duration = Duration::from_secs(20);
pub const LIMIT: u64 = 1 << 30;

/// Frames that count how many shares of them are lent.
#[derive(Default)]
pub struct Shelf {
    pub frames: Mutex<HashMap<u32, Arc<Vec<u8>>>>,
    pub released: AtomicUsize,
    pub lent: Arc<AtomicUsize>,
}

struct Lent(Arc<Vec<u8>>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Source for Shelf {
    fn arena(&self) -> [u8; 16] {
        ARENA
    }

    fn borrow(&self, claim: &Claim) -> Result<Bytes> {
        let found = self.frames.lock().get(&claim.slot).cloned();
        let frame = found.filter(|frame| claim.generation == 1 && frame.len() as u64 == claim.length);
        let frame = frame.ok_or_else(|| Error::new(ErrorKind::PayloadLost, "the slot holds another frame"))?;
        self.lent.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::from_owner(Lent(frame, self.lent.clone())))
    }

    fn release(&self, slot: u32, generation: u64) {
        if generation == 1 && self.frames.lock().remove(&slot).is_some() {
            self.released.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Shelf {
    pub fn put(&self, slot: u32, size: usize) -> Claim {
        // 251 is prime: no two chunks are alike.
        let pattern: Vec<u8> = (0..251).collect();
        let mut frame = pattern.repeat(size.div_ceil(pattern.len()));
        frame.truncate(size);
        self.frames.lock().insert(slot, Arc::new(frame));
        Claim {
            arena: ARENA,
            slot,
            generation: 1,
            length: size as u64,
        }
    }

    pub fn frame(&self, slot: u32) -> Arc<Vec<u8>> {
        self.frames.lock()[&slot].clone()
    }
}

pub fn open(security: Security) -> (Owner, Arc<Shelf>) {
    let owner = Owner::open(Endpoint::LOOPBACK, security).unwrap();
    let shelf = Arc::new(Shelf::default());
    owner.add(shelf.clone());
    (owner, shelf)
}

pub fn fetch(asker: &Asker, address: &Address, claim: &Claim) -> Result<Bytes> {
    asker.fetch(address, claim, LIMIT, LONG, false)
}

pub fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

/// Runs one of the ignored tests in a process of its own.
pub fn alone(test: &str) {
    let myself = std::env::current_exe().unwrap();
    let run = std::process::Command::new(myself)
        .args(["--ignored", "--exact", test])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}
