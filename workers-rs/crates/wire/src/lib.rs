//! What every process agrees on: frames, subjects, headers, error kinds, the contract.
//!
//! # Layout
//! In the order in which a request meets them:
//! - [`subject`]: where a request is sent, and the [`Lane`] it travels in.
//! - [`header`]: the names and values of message headers.
//! - [`claim`]: a reference to a frame that lies elsewhere.
//! - [`frame`]: tensors and parameters as bytes (safetensors), of element types [`Dtype`].
//! - [`job`]: how often and how long a durable job is tried.
//! - [`contract`]: what each operation takes and accepts, read from `broker/contract/contract.toml`.
//! - [`steps`]: what the steps of a pipeline say.
//! - [`error`]: how a request fails ([`ErrorKind`]), and [`fallback`]: why it went to another engine.
//!
//! The crate does no input or output and knows nothing of the other crates.

pub mod claim;
pub mod contract;
mod dtype;
pub mod error;
pub mod fallback;
pub mod frame;
pub mod header;
pub mod job;
mod lane;
pub mod steps;
pub mod subject;

pub use claim::Claim;
pub use dtype::Dtype;
pub use error::{Error, ErrorKind, Result, Retry};
pub use fallback::Reason;
pub use frame::{Frame, Layout, LayoutCache, Output, Tensor, TensorInfo};
pub use header::Timing;
pub use lane::Lane;
pub use subject::{Route, Subject};
