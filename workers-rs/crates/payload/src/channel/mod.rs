//! The ZeroMQ channel: whoever cannot open an arena asks its owner for the frame; `docs/channel.md` has the bytes.
//!
//! In the order in which a transfer meets them:
//! - [`Source`]: what an owner lends frames from.
//! - [`Endpoint`] and [`Security`]: where an owner listens, and when it wants CURVE.
//! - [`Owner`]: lends frames to whoever asks; one thread and one ROUTER, its `door`. Inside it `transfer` has what is on
//!   its way.
//! - [`Address`]: where an owner can be asked, the value of `Npu-Channel`.
//! - [`Asker`]: fetches frames; its connections are kept in `pool`, each a DEALER, its `line`, and `incoming` puts chunks
//!   together.
//! - [`message`]: what the two say to each other.
//! - [`plain`]: doors and lines that speak ZMTP themselves; `curve`: those that libzmq speaks for, with CURVE.
//! - `context`: the process's one context of libzmq.

mod address;
mod asker;
mod connection;
mod context;
mod curve;
mod door;
mod endpoint;
mod incoming;
mod line;
pub mod message;
mod owner;
pub mod plain;
mod pool;
mod security;
mod source;
mod transfer;

pub use address::Address;
pub use asker::Asker;
pub use endpoint::Endpoint;
pub use owner::Owner;
pub use security::Security;
pub use source::Source;
