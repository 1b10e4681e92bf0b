//! A frame whose tensors are still to be computed, in the memory that it will be read from.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::kept::Kept;
use super::write::reserve;
use crate::Result;

/// Where frames are written: on the heap, unless somebody knows a better place.
pub trait Room: Sync {
    /// A place for a frame of so many bytes; none when it is to be on the heap.
    fn place(&self, length: usize) -> Option<Box<dyn Place + '_>>;
}

/// A place for one frame, alone in the hands of who writes it. What is in it before is anything.
pub trait Place: AsRef<[u8]> + AsMut<[u8]> {
    /// Its bytes, now that all are written.
    fn freeze(self: Box<Self>) -> Bytes;
}

/// No place but the heap, where the memory of large frames is kept for the next ones.
#[derive(Clone, Copy, Debug)]
pub struct Heap;

impl Room for Heap {
    fn place(&self, length: usize) -> Option<Box<dyn Place + '_>> {
        Some(Box::new(Kept::new(length)?))
    }
}

/// A frame whose header is written; its tensors are anything until they are written, each byte of them.
pub struct Draft<'a>(Memory<'a>);

enum Memory<'a> {
    Heap(Vec<u8>),
    Placed(Box<dyn Place + 'a>),
}

impl<'a> Draft<'a> {
    /// A frame of `total` bytes that begins with `header`.
    ///
    /// # Errors
    /// `payload_too_large` when there is no memory for it.
    pub(super) fn new(room: &'a dyn Room, mut header: Vec<u8>, total: usize) -> Result<Self> {
        if let Some(mut place) = room.place(total) {
            let bytes: &mut [u8] = (*place).as_mut();
            bytes[..header.len()].copy_from_slice(&header);
            return Ok(Self(Memory::Placed(place)));
        }
        reserve(&mut header, total)?;
        header.resize(total, 0);
        Ok(Self(Memory::Heap(header)))
    }
}

impl Deref for Draft<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Heap(bytes) => bytes,
            Memory::Placed(place) => (**place).as_ref(),
        }
    }
}

impl DerefMut for Draft<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Heap(bytes) => bytes,
            Memory::Placed(place) => (**place).as_mut(),
        }
    }
}

impl From<Draft<'_>> for Bytes {
    fn from(draft: Draft<'_>) -> Self {
        match draft.0 {
            Memory::Heap(bytes) => bytes.into(),
            Memory::Placed(place) => place.freeze(),
        }
    }
}
