//! A lean connection to the broker for the hot path: messages in, messages out.
//!
//! The NATS library builds a map of owned strings for the headers of every message and passes it through two channels;
//! for frames of a hundred bytes that costs several times what the broker's own protocol does. Here a message stays one
//! piece of the receive buffer, headers are read where they lie, and whoever has something to send writes it to the
//! socket itself. What is not in the path of every call (streams, key-value, objects) stays with the library, on a
//! connection of its own that is made from the same [`Access`].
//!
//! A connection has two sides:
//! - [`Link`], cheap to clone, for any thread: subscribe, send, ask the broker whether it has read everything;
//! - [`Connection`], for the one task that polls it: messages, and what happens to the connection.
//!
//! In the order that data flows:
//! - [`options`]: where the broker is and who is asking, read into an [`Access`]; with `server`, `login` and `tls`
//! - `dial`: from an address to an open `stream`
//! - [`connection`]: receiving, keeping alive, connecting again; `parse` makes protocol operations of bytes
//! - [`message`]: what arrives, and [`headers`] in both directions
//! - [`bundle`]: messages that travel as one
//! - [`link`]: sending; `outbox` decides who writes to the socket, [`pieces`] are what is written

pub mod bundle;
pub mod connection;
mod dial;
pub mod headers;
pub mod link;
pub mod login;
pub mod message;
pub mod options;
mod outbox;
mod parse;
pub mod pieces;
mod server;
mod stream;
mod tls;

/// A subject. Cloning it is cheap, and one that was received shares the memory of its message.
pub type Subject = bytestring::ByteString;

pub use bundle::Bundle;
pub use connection::{Connection, Event};
pub use headers::{HeaderBlock, Headers};
pub use link::{Link, open};
pub use login::Login;
pub use message::Message;
pub use options::{Access, Options};
pub use pieces::Pieces;
