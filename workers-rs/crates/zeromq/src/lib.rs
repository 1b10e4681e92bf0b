//! The part of libzmq that the payload channel uses: ROUTER and DEALER sockets, zero-copy messages, CURVE, monitors.
//!
//! libzmq itself is built from source and linked statically, with libsodium, so that no machine needs a system
//! library and every build has CURVE; the page in `docs/adr` says why no existing crate does that.
//!
//! - [`Context`]: a process's sockets and the thread that moves their bytes.
//! - [`Socket`]: one end of a connection, or of many; [`Event`]: what happens to a connection.
//! - [`Message`]: bytes that libzmq owns, or borrows from a value that it keeps alive.
//! - [`poll`]: waiting for several sockets and descriptors.
//! - [`KeyPair`]: a CURVE key pair, in Z85.
//!
//! This crate is the only one of ours that calls libzmq; everything it exports is safe.
#![allow(unsafe_code)]

// Linked, not called: libzmq calls it.
use libsodium_sys as _;

mod context;
mod curve;
mod error;
mod ffi;
mod message;
mod monitor;
mod poll;
mod socket;

pub use context::Context;
pub use curve::{KeyPair, has_curve};
pub use error::{Error, Result};
pub use message::Message;
pub use monitor::Event;
pub use poll::{Interest, poll};
pub use socket::{Kind, Setting, Socket};
