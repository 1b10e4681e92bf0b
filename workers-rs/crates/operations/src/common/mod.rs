//! What several operations share.
//!
//! - [`Lines`]: lines along an axis; `buffers`: work space that a thread keeps.
//! - `parameters`, `reply`, `real`: from a request's words and bytes, and to a reply's.

mod buffers;
mod lines;
mod pace;
mod parameters;
mod real;
mod reply;

pub(crate) use buffers::{give_back, sized};
pub use lines::{Lines, position};
pub(crate) use pace::{POINTS_PER_CHECK, Pace};
pub(crate) use parameters::{Params, flag, invalid_parameter, invalid_shape, line_count, number, tensor, text, whole};
pub(crate) use real::Real;
pub(crate) use reply::check_result;
