//! Frames that travel beside the broker.
//!
//! - [`arena`]: frames in shared memory, read where they lie.
//! - [`channel`]: fetching a claimed frame over ZeroMQ, from a process whose arena cannot be opened.

pub mod arena;
pub mod channel;
