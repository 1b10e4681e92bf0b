//! What several operations share.
//!
//! - [`Lines`], `sweep`: lines along an axis, and one function over all of them; `buffers`: work space that is kept.
//! - `plans`: transforms, windows and work space, kept per thread; [`Sample`]: the element types they take; `one_sided`:
//!   the transform of real lines, `quarters`: that of long ones, `sixteenths`: that with the widest vectors.
//! - [`Norm`], [`Window`]: scaling and weighting, by the words of `scipy`.
//! - `segments`: lines cut into windowed segments, and the spectrum of each.
//! - `statistics`: sums, means and medians; `linear`: small matrices.
//! - `parameters`, `reply`, `real`: from a request's words and bytes, and to a reply's; `turn`: lines to rows, and back.

mod buffers;
pub(crate) mod linear;
mod lines;
mod norm;
mod one_sided;
mod pace;
mod parameters;
mod plans;
#[cfg(target_arch = "x86_64")]
mod quarters;
mod real;
mod reply;
mod sample;
mod segments;
#[cfg(target_arch = "x86_64")]
mod sixteenths;
mod statistics;
mod sweep;
#[cfg(target_arch = "x86_64")]
mod turn;
mod window;

pub(crate) use buffers::{give_back, sized};
pub use lines::{Lines, position};
pub use norm::Norm;
pub(crate) use pace::{POINTS_PER_CHECK, Pace};
pub(crate) use parameters::{
    Params, flag, invalid_parameter, invalid_shape, line_count, number, tensor, text, unsupported_dtype, whole,
};
pub use plans::Float;
pub(crate) use plans::{LineWork, Plans, Work};
pub(crate) use real::{Real, read_all};
pub(crate) use reply::{check_result, fill_place};
pub use sample::Sample;
pub(crate) use sample::fill;
pub(crate) use segments::{Segments, Transform, tabulate};
pub(crate) use statistics::{mean, median, weighted_sum};
pub(crate) use sweep::Sweep;
#[cfg(target_arch = "x86_64")]
pub(crate) use turn::{SIDE, transposed, turn};
pub use window::Window;
