//! The fast core of the SDK: many calls in flight over one connection, with deadlines and cancellation.
//!
//! In the order that data flows:
//! - [`client`]: the handle; `submit` and `cancel` send from the caller's thread, `drain` takes what came back
//! - `desk`: where calls are taken, sent and known until they end; `writer`: how they are written
//! - `bundling`: calls that travel as one message
//! - `calls`: the table of calls in flight; `gathering`: messages that a stream stores together
//! - `thread`: the connection's own; `driver`: the task there that receives and watches deadlines
//! - [`outcome`]: what is asked and what comes of it

mod bundling;
mod calls;
pub mod client;
mod desk;
mod driver;
mod gathering;
pub mod outcome;
mod shared;
mod thread;
mod writer;

pub use calls::BySequence;
pub use client::Client;
pub use npufleet_link::headers::fits;
pub use npufleet_link::{HeaderBlock, Options, Pieces, Subject};
pub use outcome::{Outcome, Refusal, Reply, Request, Store};
pub use writer::number_in_batch;
