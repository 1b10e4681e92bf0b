//! How a line goes on beyond its ends; the words are those of `pywt.Modes`.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

/// What lines are made of: numbers, or the numbers of several lines side by side.
pub(super) trait Element: Copy + Default {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn negated(self) -> Self;
    fn times(self, count: usize) -> Self;
}

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

/// The element `step` before the first of a line of so many (`step` is at least 1).
///
/// A level within its limit ensures that the line has more elements than go on a side.
#[inline(always)]
pub(super) fn before<T: Element>(mode: Mode, line: impl Fn(usize) -> T, length: usize, step: usize) -> T {
    let first = line(0);
    match mode {
        Mode::Zero => T::default(),
        Mode::Constant => first,
        Mode::Symmetric => line(step - 1),
        Mode::Antisymmetric => line(step - 1).negated(),
        Mode::Reflect => line(step),
        Mode::Antireflect => first.plus(first).minus(line(step)),
        Mode::Smooth => first.plus(first.minus(line(1)).times(step)),
        Mode::Periodic => line(length - step),
        Mode::Periodization => line((length.next_multiple_of(2) - step).min(length - 1)),
    }
}

/// The element `step` behind the last of a line of so many (`step` is at least 1).
#[inline(always)]
pub(super) fn behind<T: Element>(mode: Mode, line: impl Fn(usize) -> T, length: usize, step: usize) -> T {
    let last = line(length - 1);
    match mode {
        Mode::Zero => T::default(),
        Mode::Constant => last,
        Mode::Symmetric => line(length - step),
        Mode::Antisymmetric => line(length - step).negated(),
        Mode::Reflect => line(length - 1 - step),
        Mode::Antireflect => last.plus(last).minus(line(length - 1 - step)),
        Mode::Smooth => last.plus(last.minus(line(length - 2)).times(step)),
        Mode::Periodic => line(step - 1),
        Mode::Periodization if length % 2 == 1 && step == 1 => last,
        Mode::Periodization => line(step - 1 - length % 2),
    }
}
