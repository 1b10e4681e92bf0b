//! Safe handles over OpenVINO's C library; nothing here knows of frames or batches.
//!
//! - `library`: finds `libopenvino_c` and loads it.
//! - `failure`: a status and its text, in one line.
//! - `core`: devices, properties, reading and compiling.
//! - `graph`: a model as read, before it is compiled.
//! - `compiled`: a model on a device.
//! - `request`: one inference at a time, with the tensors that it owns.
//! - `double`: a device for tests, not built otherwise;
//! - `tensor`: memory that belongs to a request; `profile`: what ran in it.

mod compiled;
mod core;
#[cfg(feature = "double")]
mod double;
mod failure;
mod graph;
mod library;
mod profile;
mod request;
mod shape;
mod tensor;

pub(crate) use compiled::Compiled;
pub(crate) use core::Core;
pub(crate) use failure::Failure;
pub(crate) use graph::{Graph, RawPort};
pub(crate) use library::{find, load};
pub(crate) use request::{Call, Request};
