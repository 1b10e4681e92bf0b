//! Connections without encryption: ZMTP as libzmq speaks it, spoken by the asking thread and the owner's own.
//!
//! Through libzmq every message goes by a thread of its context, at both ends. Over the loopback interface those
//! hand-overs, and memory that is fresh for every frame, are most of what a frame of a MiB costs.

mod door;
mod guest;
mod line;
pub mod zmtp;

pub(super) use door::PlainDoor;
pub(super) use line::PlainLine;
