//! An arena's file as memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

use super::fault::Watched;

/// Whether this process may write to a mapping.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The first bytes of a file as memory. It may reach beyond the end of the file: what lies there must not be touched
/// before the file has grown, so every caller compares with the file's length first.
pub(crate) struct Map {
    /// For files of others, which may be cut off. Dropped before the memory is.
    watched: Option<Watched>,
    raw: MmapRaw,
}

impl Map {
    /// Maps a file of this process.
    ///
    /// # Errors
    /// Without address space.
    pub(crate) fn own(file: &File, length: u64) -> io::Result<Self> {
        let raw = map(file, length, Access::Write)?;
        Ok(Self { raw, watched: None })
    }

    /// Maps a file of another process.
    ///
    /// # Errors
    /// Without address space, or when too many are mapped.
    pub(crate) fn of_another(file: &File, length: u64, access: Access) -> io::Result<Self> {
        let raw = map(file, length, access)?;
        let watched = Watched::new(raw.as_mut_ptr() as usize, raw.len())?;
        Ok(Self {
            raw,
            watched: Some(watched),
        })
    }

    /// Whether it turned out that the file was cut off; what is read is zeros then.
    pub(crate) fn is_broken(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::is_broken)
    }

    /// How many bytes are mapped.
    pub(crate) fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// A word, at a multiple of 8 within the file.
    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.raw.len() as u64);
        // SAFETY: it is within the mapping and aligned, and lives as long as `self`. All processes use it as an atomic.
        unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(offset as usize).cast()) }
    }

    /// Bytes within the file. Their owner may write to them meanwhile: then what was read is void, which the
    /// generation tells.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        assert!(offset + length as u64 <= self.raw.len() as u64);
        // SAFETY: it is within the mapping, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.raw.as_mut_ptr().add(offset as usize), length) }
    }

    /// Bytes of a slot that nobody else has: it has no generation that anybody was told of.
    #[allow(
        clippy::mut_from_ref,
        reason = "slots are places of their own; whoever has one has it alone"
    )]
    pub(crate) fn bytes_mut(&self, offset: u64, length: usize) -> &mut [u8] {
        assert!(offset + length as u64 <= self.raw.len() as u64);
        // SAFETY: as above; the caller has the slot for itself.
        unsafe { std::slice::from_raw_parts_mut(self.raw.as_mut_ptr().add(offset as usize), length) }
    }

    /// The address of a byte of the file.
    pub(crate) fn address(&self, offset: u64) -> usize {
        self.raw.as_mut_ptr() as usize + offset as usize
    }
}

fn map(file: &File, length: u64, access: Access) -> io::Result<MmapRaw> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut options = MmapOptions::new();
    options.len(length);
    match access {
        Access::Read => options.map_raw_read_only(file),
        Access::Write => options.map_raw(file),
    }
}
