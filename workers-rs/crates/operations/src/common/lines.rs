//! Lines along an axis of a row-major array.

use npufleet_wire::{Error, ErrorKind, Result, TensorInfo};
use serde_json::{Map, Value};

/// How the lines lie in a row-major array: `[outer, length, inner]`, transformed along the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// The product of the dimensions before the axis.
    pub outer: usize,
    /// Samples along the axis.
    pub length: usize,
    /// The product of the dimensions after the axis; 1 when lines are contiguous.
    pub inner: usize,
}

impl Lines {
    /// The lines of a tensor along an axis counted from the front.
    pub fn of(x: &TensorInfo, position: usize) -> Self {
        // An empty tensor may have dimensions whose product no integer holds; it has no lines all the same.
        let product = |dimensions: &[usize]| dimensions.iter().copied().fold(1, usize::saturating_mul);
        Self {
            outer: product(&x.shape[..position]),
            length: x.shape[position],
            inner: product(&x.shape[position + 1..]),
        }
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.outer.saturating_mul(self.inner)
    }
}

/// The axis that a parameter names (the last when it is absent), counted from the front.
///
/// # Errors
/// `invalid_parameter` when a tensor of this rank lacks it.
pub fn position(params: &Map<String, Value>, name: &str, rank: usize) -> Result<usize> {
    let axis = params.get(name).and_then(Value::as_i64).unwrap_or(-1);
    let distance = usize::try_from(axis.unsigned_abs()).unwrap_or(usize::MAX);
    let position = if axis < 0 {
        rank.checked_sub(distance)
    } else {
        Some(distance)
    };
    position.filter(|position| *position < rank).ok_or_else(|| {
        let message = format!(
            "parameter '{name}' is {axis}; allowed: -{rank} to {}",
            rank.saturating_sub(1)
        );
        Error::new(ErrorKind::InvalidParameter, message)
    })
}
