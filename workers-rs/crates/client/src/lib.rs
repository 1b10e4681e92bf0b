//! The fast core of the SDK: many calls in flight over one connection, with deadlines and cancellation.
//!
//! In the order that data flows:
//! - [`options`]: where the broker is and who is asking
//! - [`client`]: the handle; `submit` and `cancel` leave work for the connection's thread, `drain` takes what came back
//! - `thread`: what runs there; `driver`: the task that sends, receives and watches deadlines
//! - `calls`: the table of calls in flight
//! - [`outcome`]: what is asked and what comes of it

mod calls;
pub mod client;
mod driver;
pub mod options;
pub mod outcome;
mod shared;
mod thread;

pub use async_nats::{HeaderMap, Subject};
pub use client::Client;
pub use options::Options;
pub use outcome::{Outcome, Refusal, Reply, Request};
