//! Remembering what was read from repeated headers: the frames of one program mostly differ in their numbers only.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::{Frame, Layout, header};
use crate::Result;

/// The most headers that a cache remembers.
pub const CACHE_CAPACITY: usize = 1024;

/// Longer headers are read anew each time, which bounds a full cache to 4 MiB of keys.
const MAX_KEY_BYTES: usize = 4096;

/// A bounded map from header bytes to whatever was made of them.
///
/// Two generations: when the young one is full it becomes the old one, and what is still in use moves back when it is
/// next asked for. What is used stays; there is no bookkeeping per lookup.
#[derive(Debug)]
pub struct HeaderCache<T> {
    young: HashMap<Box<[u8]>, Arc<T>, RandomState>,
    old: HashMap<Box<[u8]>, Arc<T>, RandomState>,
}

impl<T> Default for HeaderCache<T> {
    fn default() -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
        }
    }
}

impl<T> HeaderCache<T> {
    /// What was made of the header, by `make` if it is new.
    ///
    /// # Errors
    /// Those of `make`; a failure is not remembered.
    pub fn get_or_make(&mut self, header: &[u8], make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        if let Some(known) = self.young.get(header) {
            return Ok(Arc::clone(known));
        }
        let value = match self.old.remove(header) {
            Some(known) => known,
            None => Arc::new(make()?),
        };
        if header.len() <= MAX_KEY_BYTES {
            if self.young.len() >= CACHE_CAPACITY / 2 {
                self.old = mem::take(&mut self.young);
            }
            self.young.insert(header.into(), Arc::clone(&value));
        }
        Ok(value)
    }

    /// How many headers are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Decodes frames; a header seen before costs one hash and one comparison.
#[derive(Debug, Default)]
pub struct LayoutCache {
    layouts: HeaderCache<Layout>,
}

impl LayoutCache {
    /// Reads a frame without copying tensor bytes.
    ///
    /// # Errors
    /// As [`Frame::decode`].
    pub fn decode(&mut self, bytes: Bytes) -> Result<Frame> {
        Frame::new(self.layout(&bytes)?, bytes)
    }

    /// Whether bytes are a frame, without taking them.
    ///
    /// # Errors
    /// As [`Frame::decode`].
    pub fn check(&mut self, bytes: &[u8]) -> Result<()> {
        self.layout(bytes)?.check_length(bytes.len())
    }

    fn layout(&mut self, bytes: &[u8]) -> Result<Arc<Layout>> {
        let header = header(bytes)?;
        self.layouts.get_or_make(header, || Layout::parse(header))
    }

    /// How many headers are remembered.
    pub fn len(&self) -> usize {
        self.layouts.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.layouts.is_empty()
    }
}
