//! A worker: take, admit, batch, execute, reply, drain.
//!
//! # Layout
//! In the order in which a request meets them:
//! - [`Config`]: what a worker can be told.
//! - `connect`: the broker connections.
//! - `intake`: subscriptions; `admission`: a message becomes a `request`.
//! - `endpoint`: what a subject leads to, and what is known about requests for it.
//! - `queue`: lanes, groups and batches.
//! - `payloads`: frames beside the broker; `room`: where a result is written; `fetching`: frames of other hosts.
//! - `executor`: the threads that do the work; `steps`: what they offer to a pipeline.
//! - `reply`: results and errors; `answers`: which of them leave together; `handover`: what this engine cannot do goes to
//!   the other.
//! - `jobs`: durable jobs, done by the same executors.
//! - `models`: which models are served.
//! - `service` and `statistics`: what NATS tools see of it; `telemetry`: its spans; `events`: what its starter reads.
//! - `run`: start and serve; `drain`: finish and leave.

mod admission;
mod answers;
mod config;
mod connect;
mod core;
mod drain;
mod endpoint;
mod error;
mod events;
mod executor;
mod fetching;
mod handover;
mod intake;
mod jobs;
mod models;
mod payloads;
mod queue;
mod reply;
mod request;
mod room;
mod run;
mod service;
mod statistics;
mod steps;
mod telemetry;

pub use config::Config;
pub use error::Error;
pub use run::{Worker, run, run_until};
