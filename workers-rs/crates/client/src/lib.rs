//! The fast core of the SDK: many calls in flight over one connection, with deadlines and cancellation.
//!
//! In the order that data flows:
//! - [`client`]: the handle; `submit` and `cancel` leave work for the connection's thread, `drain` takes what came back
//! - `thread`: what runs there; `driver`: the task that sends, receives and watches deadlines
//! - `calls`: the table of calls in flight
//! - [`outcome`]: what is asked and what comes of it

mod calls;
pub mod client;
mod driver;
pub mod outcome;
mod shared;
mod thread;

pub use calls::BySequence;
pub use client::Client;
pub use npufleet_link::{Options, Subject};
pub use outcome::{Outcome, Refusal, Reply, Request};
