//! The ZeroMQ channel: whoever cannot open an arena asks its owner for the frame; `docs/channel.md` has the bytes.
//!
//! In the order in which a transfer meets them:
//! - [`Address`]: where an owner can be asked, the value of `Npu-Channel`.
//! - [`message`]: what the two say to each other.

mod address;
pub mod message;

pub use address::Address;
