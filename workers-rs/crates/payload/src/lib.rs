//! Frames that travel beside the broker.
//!
//! - [`arena`]: frames in shared memory, read where they lie.
//! - [`channel`]: fetching a claimed frame over ZeroMQ, from a process whose arena cannot be opened.
//! - [`remote`]: the channel as one process uses it.
//! - [`exchange`]: all of it as one process uses it: its own arena, those of others, and the channel.

pub mod arena;
pub mod channel;
pub mod exchange;
pub mod remote;

/// A frame of at least so many bytes goes by arena where both processes see the same memory.
pub const INLINE_BYTES: usize = 4096;

/// A frame of at least so many bytes goes over ZeroMQ where they do not, unless the environment names another number.
pub const CHANNEL_BYTES: usize = 262_144;

/// Below what the broker takes by this much, a message cannot be too large whatever its headers are.
pub const HEADER_ROOM: usize = 4096;

/// Reads an arena's id, as `Npu-Accept` has it: 32 lower-case hexadecimal digits.
pub fn read_arena_id(text: &str) -> Option<[u8; 16]> {
    npufleet_wire::claim::read_arena(text.as_bytes().try_into().ok()?)
}
