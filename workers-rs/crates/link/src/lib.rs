//! A lean connection to the broker for the hot path: messages in, messages out.
//!
//! The NATS library builds a map of owned strings for the headers of every message and passes it through two channels;
//! for frames of a hundred bytes that costs several times what the broker's own protocol does. Here a message stays
//! one piece of the receive buffer, headers are read where they lie, and everything is polled by one task.
//! What is not in the path of every call (streams, key-value, objects) stays with the library.
//!
//! In the order that data flows:
//! - [`options`]: where the broker is and who is asking
//! - [`connector`]: opens connections, and opens them again; with `server`, `login`, `tls`, `stream`, `handshake`
//! - [`link`]: the open connection; `publish`, `poll_receive`, `poll_flush`
//! - [`message`]: what arrives, and [`headers`] in both directions
//! - `parse`: bytes to protocol operations

pub mod connector;
mod handshake;
pub mod headers;
pub mod link;
mod login;
pub mod message;
pub mod options;
mod parse;
mod server;
mod stream;
mod tls;

pub use connector::Connector;
pub use headers::{HeaderBlock, Headers};
pub use link::{Link, Lost, Received};
pub use message::Message;
pub use options::Options;
