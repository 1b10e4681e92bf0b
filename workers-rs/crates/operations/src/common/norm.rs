//! Where a transform is scaled; the words are those of `scipy.fft`.

use std::ops::Mul;

use serde_json::{Map, Value};

use super::Float;

/// Where to scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// The inverse transform by 1/points.
    Backward,
    /// Both by the square root of 1/points.
    Ortho,
    /// The forward transform by 1/points.
    Forward,
}

impl Norm {
    /// What the parameter `norm` asks for.
    pub fn of(params: &Map<String, Value>) -> Self {
        match params.get("norm").and_then(Value::as_str) {
            Some("ortho") => Self::Ortho,
            Some("forward") => Self::Forward,
            _ => Self::Backward,
        }
    }

    /// The same of the opposite transform.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self {
            Self::Backward => Self::Forward,
            Self::Ortho => Self::Ortho,
            Self::Forward => Self::Backward,
        }
    }

    /// Scales what a forward transform of so many points gave.
    pub(crate) fn scale<T: Float, V: Copy + Mul<T, Output = V>>(self, values: &mut [V], points: usize) {
        let points = points as f64;
        let factor = T::of(match self {
            Self::Backward => return,
            Self::Ortho => points.sqrt().recip(),
            Self::Forward => points.recip(),
        });
        for value in values {
            *value = *value * factor;
        }
    }
}
