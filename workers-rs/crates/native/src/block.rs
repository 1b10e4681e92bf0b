//! Memory that Python's arrays lie in: of a slot, for arrays that are to be sent and of results, or of a result alone.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use bytes::Bytes;
use npufleet_payload::arena::{Arena, Slot};
use npufleet_wire::Claim;
use parking_lot::Mutex;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::payloads::Lent;

/// Room in front of an array for the header of a frame, in bytes; a multiple of what vector instructions like.
const ROOM: usize = 1024;
const PREFIX: usize = 8;

/// A slot with an array in it, behind room for a frame's header.
pub(crate) struct Memory {
    slot: Slot,
    length: usize,
    front: Mutex<Front>,
}

/// The header that stands in front now, and for how many requests.
#[derive(Default)]
struct Front {
    header: Vec<u8>,
    requests: usize,
}

impl Memory {
    pub(crate) fn new(arena: &Arena, length: usize) -> Option<Self> {
        let mut slot = arena.take(ROOM + length)?;
        slot.bytes_mut()[..PREFIX].fill(0);
        slot.publish();
        Some(Self {
            slot,
            length,
            front: Mutex::default(),
        })
    }

    /// Where the array begins.
    pub(crate) fn address(&self) -> usize {
        self.slot.address() + ROOM
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.slot.bytes()[ROOM..]
    }

    /// How many bytes the array has.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The frame of the array behind a header; none when the header has no room, or another one is in use.
    pub(crate) fn frame(self: &Arc<Self>, header: &[u8]) -> Option<Prefixed> {
        let json = header.get(PREFIX..).filter(|json| json.len() <= ROOM - PREFIX)?;
        let mut front = self.front.lock();
        if front.header != header {
            if front.requests > 0 {
                return None;
            }
            let mut whole = [b' '; ROOM];
            whole[..PREFIX].copy_from_slice(&((ROOM - PREFIX) as u64).to_le_bytes());
            whole[PREFIX..PREFIX + json.len()].copy_from_slice(json);
            self.slot.rewrite(&whole);
            front.header = header.to_vec();
        }
        front.requests += 1;
        Some(Prefixed(Arc::clone(self)))
    }
}

/// A request's frame around an array that was made in a slot.
pub(crate) struct Prefixed(Arc<Memory>);

impl Prefixed {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.slot.bytes()[..ROOM + self.0.length]
    }

    pub(crate) fn claim(&self) -> Claim {
        self.0.slot.claim_of(ROOM + self.0.length)
    }
}

impl Drop for Prefixed {
    fn drop(&mut self) {
        self.0.front.lock().requests -= 1;
    }
}

/// Bytes as Python's buffers, mostly in shared memory; the memory is free when the last buffer of it is gone.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct Block(Content);

enum Content {
    Made(Arc<Memory>),
    Lent(Lent),
    Held(Bytes),
}

impl Block {
    /// Memory to write an array to.
    pub(crate) fn made(memory: Arc<Memory>) -> Self {
        Self(Content::Made(memory))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Content::Made(memory) => memory.bytes(),
            Content::Lent(lent) => lent.bytes(),
            Content::Held(bytes) => bytes,
        }
    }

    /// A result, to be read only.
    pub(crate) fn lent(lent: Lent) -> Self {
        Self(Content::Lent(lent))
    }

    /// A result that lies in no slot, to be read only.
    pub(crate) fn held(bytes: Bytes) -> Self {
        Self(Content::Held(bytes))
    }
}

#[pymethods]
#[allow(unsafe_code, reason = "Python's buffer protocol")]
impl Block {
    fn __len__(&self) -> usize {
        self.bytes().len()
    }

    /// # Safety
    /// Called by Python, with a view to fill in.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let block = slf.get();
        let (address, length, read_only) = match &block.0 {
            Content::Made(memory) => (memory.address() as *mut c_void, memory.len(), 0),
            _ => (block.bytes().as_ptr().cast_mut().cast(), block.bytes().len(), 1),
        };
        let length = isize::try_from(length).map_err(|_| PyBufferError::new_err("too many bytes"))?;
        // SAFETY: the memory lives as long as the object, which the view keeps alive.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), address, length, read_only, flags) };
        if filled == -1 {
            return Err(PyErr::fetch(slf.py()));
        }
        Ok(())
    }
}
