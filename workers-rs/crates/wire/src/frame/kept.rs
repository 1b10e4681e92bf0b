//! Memory of large frames, kept for the next ones: zeroing new memory costs as much as some operations.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::Place;

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
    /// At least `length`, all of them written at some time.
    memory: Vec<u8>,
    length: usize,
}

impl Kept {
    /// Memory for a frame of so many bytes; none where it is not kept, or where there is none.
    pub(super) fn new(length: usize) -> Option<Self> {
        if !(LEAST..=MOST / 2).contains(&length) {
            return None;
        }
        let fits = |memory: &Vec<u8>| (length..=2 * length).contains(&memory.len());
        let found = with_shelf(|shelf| Some(shelf.remove(shelf.iter().rposition(fits)?)));
        let memory = found.or_else(|| {
            let mut memory = Vec::new();
            memory.try_reserve_exact(length).ok()?;
            memory.resize(length, 0);
            Some(memory)
        })?;
        Some(Self { memory, length })
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
        &self.memory[..self.length]
    }
}

impl AsMut<[u8]> for Kept {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.length]
    }
}

impl Place for Kept {
    fn freeze(self: Box<Self>) -> Bytes {
        Bytes::from_owner(*self)
    }
}
