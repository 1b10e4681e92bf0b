//! The vectors with which neighbouring lines are filtered: those that most processors have, and those of AVX-512.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use std::arch::x86_64::{_mm512_fmadd_pd, _mm512_fnmadd_pd, _mm512_mul_pd, _mm512_set1_pd};

use bytemuck::{Pod, cast};
use pulp::x86::V3;
use pulp::{NullaryFnOnce, Simd, f64x4};

use crate::common::{SIDE, transposed, turn};

/// Samples of a line that are turned at once, whole cache lines of doubles: lines whose length is a power of two compete
/// for the same few places in the cache.
pub(super) const STEP: usize = 8;

/// So many samples of a line.
pub(super) type Samples = [f64x4; STEP / SIDE];

/// Vectors of `LINES` doubles, one of each line.
pub(super) trait Vectors<const LINES: usize>: Copy {
    /// One of them, wherever it lies.
    type Vector: Pod;

    /// Whether there are registers for [`STEP`] vectors beside those that the recursion needs.
    const MANY: bool;

    /// None where the processor lacks them.
    fn try_new() -> Option<Self>;

    /// Does what is compiled for them.
    fn vectorize<F: NullaryFnOnce>(self, body: F) -> F::Output;

    /// The same number for each line.
    fn splat(self, number: f64) -> Self::Vector;

    /// `a * b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b + c`
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `c - a * b`
    fn negate_mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// Makes rows, each of a sample of every line.
    fn turn(self, lines: [Samples; LINES]) -> [Self::Vector; STEP];

    /// Makes lines of rows.
    fn turn_back(self, rows: [Self::Vector; STEP]) -> [Samples; LINES];
}

impl Vectors<SIDE> for V3 {
    type Vector = f64x4;

    const MANY: bool = false;

    fn try_new() -> Option<Self> {
        Self::try_new()
    }

    fn vectorize<F: NullaryFnOnce>(self, body: F) -> F::Output {
        Simd::vectorize(self, body)
    }

    #[inline(always)]
    fn splat(self, number: f64) -> f64x4 {
        self.splat_f64s(number)
    }

    #[inline(always)]
    fn mul(self, a: f64x4, b: f64x4) -> f64x4 {
        self.mul_f64s(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: f64x4, b: f64x4, c: f64x4) -> f64x4 {
        self.mul_add_f64s(a, b, c)
    }

    #[inline(always)]
    fn negate_mul_add(self, a: f64x4, b: f64x4, c: f64x4) -> f64x4 {
        self.negate_mul_add_f64s(a, b, c)
    }

    #[inline(always)]
    fn turn(self, [a, b, c, d]: [Samples; SIDE]) -> [f64x4; STEP] {
        cast([
            turn(self, [a[0], b[0], c[0], d[0]]),
            turn(self, [a[1], b[1], c[1], d[1]]),
        ])
    }

    #[inline(always)]
    fn turn_back(self, rows: [f64x4; STEP]) -> [Samples; SIDE] {
        let [front, back]: [[f64x4; SIDE]; STEP / SIDE] = cast(rows);
        let (front, back) = (turn(self, front), turn(self, back));
        [
            [front[0], back[0]],
            [front[1], back[1]],
            [front[2], back[2]],
            [front[3], back[3]],
        ]
    }
}

/// The vectors of AVX-512, where the processor has them.
#[derive(Clone, Copy)]
pub(super) struct V4(());

/// Doubles of eight lines.
type Eight = [f64; STEP];

#[allow(unsafe_code, reason = "there is no such value where the processor lacks the vectors")]
impl Vectors<STEP> for V4 {
    type Vector = Eight;

    const MANY: bool = true;

    fn try_new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")).then_some(Self(()))
    }

    fn vectorize<F: NullaryFnOnce>(self, body: F) -> F::Output {
        #[target_feature(enable = "avx512f,avx512dq")]
        fn run<F: NullaryFnOnce>(body: F) -> F::Output {
            body.call()
        }
        unsafe { run(body) }
    }

    #[inline(always)]
    fn splat(self, number: f64) -> Eight {
        cast(unsafe { _mm512_set1_pd(number) })
    }

    #[inline(always)]
    fn mul(self, a: Eight, b: Eight) -> Eight {
        cast(unsafe { _mm512_mul_pd(cast(a), cast(b)) })
    }

    #[inline(always)]
    fn mul_add(self, a: Eight, b: Eight, c: Eight) -> Eight {
        cast(unsafe { _mm512_fmadd_pd(cast(a), cast(b), cast(c)) })
    }

    #[inline(always)]
    fn negate_mul_add(self, a: Eight, b: Eight, c: Eight) -> Eight {
        cast(unsafe { _mm512_fnmadd_pd(cast(a), cast(b), cast(c)) })
    }

    #[inline(always)]
    fn turn(self, lines: [Samples; STEP]) -> [Eight; STEP] {
        cast(unsafe { transposed(cast(lines)) })
    }

    #[inline(always)]
    fn turn_back(self, rows: [Eight; STEP]) -> [Samples; STEP] {
        cast(unsafe { transposed(cast(rows)) })
    }
}
