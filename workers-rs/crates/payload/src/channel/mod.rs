//! The ZeroMQ channel: whoever cannot open an arena asks its owner for the frame; `docs/channel.md` has the bytes.
//!
//! In the order in which a transfer meets them:
//! - [`Source`]: what an owner lends frames from.
//! - [`Endpoint`] and [`Security`]: where an owner listens, and when it wants CURVE.
//! - [`Owner`]: lends frames to whoever asks; one thread and one ROUTER. Inside it `transfer` has what is on its way.
//! - [`Address`]: where an owner can be asked, the value of `Npu-Channel`.
//! - [`Asker`]: fetches frames; its connections are kept in `pool`, each a DEALER, and `incoming` puts chunks together.
//! - [`message`]: what the two say to each other.
//! - `context`: the process's one context of libzmq.

mod address;
mod asker;
mod connection;
mod context;
mod endpoint;
mod incoming;
pub mod message;
mod owner;
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
