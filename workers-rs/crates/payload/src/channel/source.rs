//! What an owner lends frames from.

use bytes::Bytes;
use npufleet_wire::{Claim, Result};

/// An arena, as far as the channel needs to know it.
pub trait Source: Send + Sync {
    /// The id that claims name it by.
    fn arena(&self) -> [u8; 16];

    /// The bytes of a claimed frame, which stay what they are until the last clone of them is dropped, on any thread.
    ///
    /// # Errors
    /// `payload_lost` when the slot holds another generation, `invalid_frame` when there can be no such frame.
    fn borrow(&self, claim: &Claim) -> Result<Bytes>;

    /// Lets the slot be used again, if it still holds this generation.
    fn release(&self, slot: u32, generation: u64);
}
