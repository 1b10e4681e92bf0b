//! The fast core of the SDK: many calls in flight over one connection, with deadlines and cancellation.
//!
//! In the order that data flows:
//! - [`options`]: where the broker is and who is asking
//! - [`client`]: the handle; `submit` and `cancel` leave work for the connection's thread, `drain` takes what came back
//! - `driver`: the task on that thread that owns the connection, sends, receives and watches deadlines
//! - `calls`: the table of calls in flight
//! - [`outcome`]: what is asked and what comes of it

mod calls;
pub mod client;
mod driver;
pub mod options;
pub mod outcome;
mod shared;

pub use async_nats::{HeaderMap, Subject};
pub use client::Client;
pub use options::Options;
pub use outcome::{Outcome, Refusal, Reply, Request};
