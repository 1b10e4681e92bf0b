//! What several operations share.

mod lines;
mod pace;

pub use lines::{Lines, position};
pub(crate) use pace::{POINTS_PER_CHECK, Pace};
