//! Where things are in an arena's file.

use npufleet_wire::{Error, ErrorKind, Result};

pub(crate) const MAGIC: [u8; 8] = *b"npuarena";
pub(crate) const VERSION: u32 = 1;
/// Entries of the table.
pub(crate) const SLOTS: u32 = 16_384;
/// Where the table begins, and what a slot and its growth are multiples of.
pub(crate) const PAGE: u64 = 4096;
pub(crate) const ENTRY: u64 = 32;
/// Where data begins.
pub(crate) const DATA: u64 = PAGE + SLOTS as u64 * ENTRY;
/// The smallest capacity of a slot; each class has twice that of the one before.
const SMALLEST: u64 = 4096;
/// Classes of slots: 4 KiB to 256 MiB.
pub(crate) const CLASSES: usize = 17;

const OFFSET: u64 = 0;
const CAPACITY: u64 = 8;
const GENERATION: u64 = 16;
const RECEIVER: u64 = 24;

/// The words of a slot's entry, as places in the file.
#[derive(Clone, Copy)]
pub(crate) struct Entry(u64);

impl Entry {
    /// The entry of a slot below [`SLOTS`].
    pub(crate) fn of(slot: u32) -> Self {
        debug_assert!(slot < SLOTS);
        Self(PAGE + u64::from(slot) * ENTRY)
    }

    pub(crate) fn offset(self) -> u64 {
        self.0 + OFFSET
    }

    pub(crate) fn capacity(self) -> u64 {
        self.0 + CAPACITY
    }

    pub(crate) fn generation(self) -> u64 {
        self.0 + GENERATION
    }

    pub(crate) fn receiver(self) -> u64 {
        self.0 + RECEIVER
    }
}

/// Returns the capacity of a class.
pub(crate) fn capacity(class: usize) -> u64 {
    SMALLEST << class
}

/// Returns the smallest class for so many bytes.
pub(crate) fn class(length: usize) -> Option<usize> {
    (0..CLASSES).find(|class| length as u64 <= capacity(*class))
}

/// Returns the beginning of a file that may grow to `limit` bytes.
pub(crate) fn header(id: [u8; 16], limit: u64) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&SLOTS.to_le_bytes());
    bytes[16..32].copy_from_slice(&id);
    bytes[32..40].copy_from_slice(&DATA.to_le_bytes());
    bytes[40..48].copy_from_slice(&limit.to_le_bytes());
    bytes
}

/// Returns how far a file may grow that begins with `bytes`, if that is the beginning of the arena `id`.
pub(crate) fn read_header(bytes: &[u8; 48], id: [u8; 16]) -> Option<u64> {
    let limit = u64::from_le_bytes(bytes[40..48].try_into().ok()?);
    (*bytes == header(id, limit)).then_some(limit)
}

/// A file is never larger; a reader maps it whole, which takes addresses and no memory.
pub(crate) const LARGEST_FILE: u64 = 1 << 40;

/// Checks where a claimed slot says that it is.
///
/// # Errors
/// `invalid_frame`.
pub(crate) fn check(offset: u64, capacity: u64, length: u64) -> Result<()> {
    let sized = capacity.is_power_of_two() && capacity >= SMALLEST && capacity <= self::capacity(CLASSES - 1);
    if sized && offset >= DATA && offset.is_multiple_of(PAGE) && length <= capacity {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidFrame,
        format!("claim has {length} bytes; the slot has {capacity} at {offset}"),
    ))
}
