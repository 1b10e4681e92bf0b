//! Memory of large frames, kept for the next ones: zeroing new memory costs as much as some operations.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::{CACHE_LINE, Place};

/// Frames shorter than this are not worth keeping memory for.
const LEAST: usize = 1 << 16;
/// The most bytes that are kept, of all threads together.
const MOST: usize = 1 << 23;

/// What waits for the next frame, the latest last: it may still be in the processor's cache.
static SHELF: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn with_shelf<R>(body: impl FnOnce(&mut Vec<Vec<u8>>) -> R) -> R {
    body(&mut SHELF.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Memory that goes back to the shelf when nobody holds it any more.
pub(super) struct Kept {
    /// All of them written at some time.
    memory: Vec<u8>,
    /// The part of it that the frame takes, from the beginning of a cache line on.
    place: Range<usize>,
}

impl Kept {
    /// Memory for a frame of so many bytes; none where it is not kept, or where there is none.
    pub(super) fn new(length: usize) -> Option<Self> {
        if !(LEAST..=MOST / 2).contains(&length) {
            return None;
        }
        let needed = length + CACHE_LINE;
        let fits = |memory: &Vec<u8>| (needed..=2 * length).contains(&memory.len());
        let found = with_shelf(|shelf| Some(shelf.remove(shelf.iter().rposition(fits)?)));
        let memory = found.or_else(|| {
            let mut memory = Vec::new();
            memory.try_reserve_exact(needed).ok()?;
            memory.resize(needed, 0);
            Some(memory)
        })?;
        let start = memory.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE);
        let place = start..start + length;
        Some(Self { memory, place })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        with_shelf(|shelf| {
            shelf.push(memory);
            let mut bytes: usize = shelf.iter().map(Vec::len).sum();
            let oldest = shelf.iter().take_while(|memory| {
                let is_over = bytes > MOST;
                bytes -= memory.len();
                is_over
            });
            let oldest = oldest.count();
            shelf.drain(..oldest);
        });
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.place.clone()]
    }
}

impl AsMut<[u8]> for Kept {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.place.clone()]
    }
}

impl Place for Kept {
    fn freeze(self: Box<Self>) -> Bytes {
        Bytes::from_owner(*self)
    }
}
