//! The numbers that lines are made of, and the buffers that a thread keeps for them.

use std::cell::RefCell;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use bytemuck::Pod;

use super::extend::Element;
use crate::common::give_back;

/// Lines that are worked on side by side.
pub(super) const LANES: usize = 4;

/// Their elements of one number.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
pub(super) struct Row(pub(super) [f64; LANES]);

/// A number that samples and coefficients are made of; everything is computed in its own precision.
pub(super) trait Real:
    Element
    + Pod
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The bits of a number, which without a sign are in its order.
    type Bits: Pod + Ord;

    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    /// Times a factor, plus a number, rounded once.
    fn times_plus(self, factor: Self, number: Self) -> Self;
    fn magnitude(self) -> Self;
    fn with_sign(self, sign: Self) -> Self;
    fn is_not_a_number(self) -> bool;

    /// Calls `body` with this thread's buffers.
    fn with_work<R>(body: impl FnOnce(&mut Work<Self>) -> R) -> R;
}

macro_rules! real {
    ($float:ty, $bits:ty) => {
        impl Real for $float {
            type Bits = $bits;

            fn from_f64(value: f64) -> Self {
                value as Self
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn times_plus(self, factor: Self, number: Self) -> Self {
                self.mul_add(factor, number)
            }
            fn magnitude(self) -> Self {
                self.abs()
            }
            fn with_sign(self, sign: Self) -> Self {
                self.copysign(sign)
            }
            fn is_not_a_number(self) -> bool {
                self.is_nan()
            }
            fn with_work<R>(body: impl FnOnce(&mut Work<Self>) -> R) -> R {
                thread_local! {
                    static WORK: RefCell<Work<$float>> = RefCell::default();
                }
                WORK.with_borrow_mut(|work| {
                    let result = body(work);
                    work.give_back();
                    result
                })
            }
        }

        impl Element for $float {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn negated(self) -> Self {
                -self
            }
            #[inline(always)]
            fn times(self, count: usize) -> Self {
                self * count as Self
            }
        }
    };
}
real!(f32, u32);
real!(f64, u64);

/// Buffers that grow to what is needed.
#[derive(Default)]
pub(super) struct Work<T> {
    /// The lines of a block as they come, one after the other; of several tensors, their parts in the same order.
    pub(super) sources: Vec<T>,
    /// What becomes of each of them.
    pub(super) results: Vec<T>,
    /// Coefficients that are no result themselves.
    pub(super) coefficients: Vec<T>,
    pub(super) levels: Levels<T>,
    /// Approximations of two levels of neighbouring lines, one made from the other.
    pub(super) rows: [Vec<Row>; 2],
}

/// What the levels of one line need.
#[derive(Default)]
pub(super) struct Levels<T> {
    /// Approximations of two levels, one made from the other.
    pub(super) approximations: [Vec<T>; 2],
    /// A stretch of a line between its extensions, and its elements of even and of odd numbers.
    pub(super) stretch: Vec<T>,
    /// Periodic coefficients between their repetitions.
    pub(super) wrapped: [Vec<T>; 2],
    /// Magnitudes whose median is wanted.
    pub(super) magnitudes: Vec<T>,
}

impl<T> Work<T> {
    fn give_back(&mut self) {
        let levels = &mut self.levels;
        let [coarser, finer] = &mut levels.approximations;
        let [low, high] = &mut levels.wrapped;
        self.rows.iter_mut().for_each(give_back);
        let own = [&mut self.sources, &mut self.results, &mut self.coefficients];
        for buffer in own
            .into_iter()
            .chain([coarser, finer, low, high, &mut levels.magnitudes])
        {
            give_back(buffer);
        }
    }
}
