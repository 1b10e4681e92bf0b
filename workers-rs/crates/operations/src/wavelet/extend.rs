//! How a line goes on beyond its ends; the words are those of `pywt.Modes`.

use super::work::Real;

/// A signal extension mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Symmetric,
    Reflect,
    Periodic,
    /// Periodic, with as few coefficients as samples; an odd number of samples repeats the last.
    Periodization,
    Zero,
    Constant,
    /// Along the straight line through the last two samples.
    Smooth,
    Antisymmetric,
    Antireflect,
}

impl Mode {
    /// The mode of a name that the contract has passed.
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "reflect" => Self::Reflect,
            "periodic" => Self::Periodic,
            "periodization" => Self::Periodization,
            "zero" => Self::Zero,
            "constant" => Self::Constant,
            "smooth" => Self::Smooth,
            "antisymmetric" => Self::Antisymmetric,
            "antireflect" => Self::Antireflect,
            _ => Self::Symmetric,
        }
    }

    /// How many elements go in front of a line for filters of so many pairs of taps.
    pub(super) fn front(self, half: usize) -> usize {
        if self == Self::Periodization {
            half - 1
        } else {
            2 * half - 2
        }
    }
}

/// The element `step` before the first of a line (`step` is at least 1).
///
/// A level within its limit ensures that the line has more elements than go on a side.
pub(super) fn before<T: Real>(mode: Mode, line: &[T], step: usize) -> T {
    let (first, length) = (line[0], line.len());
    match mode {
        Mode::Zero => T::default(),
        Mode::Constant => first,
        Mode::Symmetric => line[step - 1],
        Mode::Antisymmetric => -line[step - 1],
        Mode::Reflect => line[step],
        Mode::Antireflect => first + first - line[step],
        Mode::Smooth => first + (first - line[1]) * T::from_f64(step as f64),
        Mode::Periodic => line[length - step],
        Mode::Periodization => line[(length.next_multiple_of(2) - step).min(length - 1)],
    }
}

/// The element `step` behind the last of a line (`step` is at least 1).
pub(super) fn behind<T: Real>(mode: Mode, line: &[T], step: usize) -> T {
    let (last, length) = (line[line.len() - 1], line.len());
    match mode {
        Mode::Zero => T::default(),
        Mode::Constant => last,
        Mode::Symmetric => line[length - step],
        Mode::Antisymmetric => -line[length - step],
        Mode::Reflect => line[length - 1 - step],
        Mode::Antireflect => last + last - line[length - 1 - step],
        Mode::Smooth => last + (last - line[length - 2]) * T::from_f64(step as f64),
        Mode::Periodic => line[step - 1],
        Mode::Periodization if length % 2 == 1 && step == 1 => last,
        Mode::Periodization => line[step - 1 - length % 2],
    }
}
