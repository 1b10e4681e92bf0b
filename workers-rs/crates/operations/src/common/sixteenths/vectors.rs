//! Eight complex numbers at a time: what the passes are made of.

#![allow(
    clippy::large_types_passed_by_value,
    clippy::many_single_char_names,
    reason = "all of this is inlined: vectors are in registers, and have no better names"
)]

use std::arch::x86_64::{
    __m512d, _mm512_add_pd, _mm512_fmadd_pd, _mm512_fmsub_pd, _mm512_mul_pd, _mm512_set1_pd, _mm512_setzero_pd,
    _mm512_sub_pd,
};
use std::f64::consts::FRAC_1_SQRT_2;
use std::hint::black_box;

use bytemuck::cast;

/// How many numbers a vector holds.
pub(super) const WIDTH: usize = 8;

/// Real and imaginary parts of neighbours, as they are in memory.
pub(super) type Stored = [[f64; WIDTH]; 2];

/// The cosine and the sine of an eighth of half a turn.
const COS: f64 = 0.923_879_532_511_286_7;
const SIN: f64 = 0.382_683_432_365_089_8;

/// Real and imaginary parts of eight complex numbers.
#[derive(Clone, Copy)]
pub(super) struct Vector {
    pub(super) re: __m512d,
    pub(super) im: __m512d,
}

impl From<&Stored> for Vector {
    fn from(stored: &Stored) -> Self {
        Self {
            re: cast(stored[0]),
            im: cast(stored[1]),
        }
    }
}

impl From<Vector> for Stored {
    fn from(vector: Vector) -> Self {
        [cast(vector.re), cast(vector.im)]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn plus(a: Vector, b: Vector) -> Vector {
    Vector {
        re: _mm512_add_pd(a.re, b.re),
        im: _mm512_add_pd(a.im, b.im),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn minus(a: Vector, b: Vector) -> Vector {
    Vector {
        re: _mm512_sub_pd(a.re, b.re),
        im: _mm512_sub_pd(a.im, b.im),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn times(a: Vector, b: Vector) -> Vector {
    Vector {
        re: _mm512_fmsub_pd(a.re, b.re, _mm512_mul_pd(a.im, b.im)),
        im: _mm512_fmadd_pd(a.re, b.im, _mm512_mul_pd(a.im, b.re)),
    }
}

/// All times the same number.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn by(a: Vector, [re, im]: [f64; 2]) -> Vector {
    let (re, im) = (_mm512_set1_pd(re), _mm512_set1_pd(im));
    times(a, Vector { re, im })
}

/// Turned back by an eighth of a turn.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn eighth(a: Vector) -> Vector {
    let root = _mm512_set1_pd(FRAC_1_SQRT_2);
    Vector {
        re: _mm512_mul_pd(_mm512_add_pd(a.im, a.re), root),
        im: _mm512_mul_pd(_mm512_sub_pd(a.im, a.re), root),
    }
}

/// Turned back by a quarter of a turn, and then added to `a` and taken from it.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn both_turned(a: Vector, b: Vector) -> [Vector; 2] {
    let plus = Vector {
        re: _mm512_add_pd(a.re, b.im),
        im: _mm512_sub_pd(a.im, b.re),
    };
    let minus = Vector {
        re: _mm512_sub_pd(a.re, b.im),
        im: _mm512_add_pd(a.im, b.re),
    };
    [plus, minus]
}

/// Turned back by a quarter of a turn.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn quarter(a: Vector) -> Vector {
    Vector {
        re: a.im,
        im: _mm512_sub_pd(_mm512_setzero_pd(), a.re),
    }
}

/// The transform of two.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn two(a: Vector, b: Vector) -> [Vector; 2] {
    [plus(a, b), minus(a, b)]
}

/// The transform of four.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn four([a, b, c, d]: [Vector; 4]) -> [Vector; 4] {
    let ([even, even_apart], [odd, odd_apart]) = (two(a, c), two(b, d));
    let ([zero, second], [first, third]) = (two(even, odd), both_turned(even_apart, odd_apart));
    [zero, first, second, third]
}

/// The bins of eight vectors, the `$first`th and each `$step`th from there on.
///
/// No function: some of what calls it is so long that the compiler would not inline it, and pass vectors in memory.
macro_rules! eight {
    ($load:ident, $first:expr, $step:expr) => {{
        let at = |index: usize| $load($first + $step * index);
        let ([a, b], [c, d]) = (two(at(0), at(4)), two(at(1), at(5)));
        let ([e, f], [g, h]) = (two(at(2), at(6)), two(at(3), at(7)));
        let [zero, second, fourth, sixth] = four([a, c, e, g]);
        let [first, third, fifth, seventh] = four([b, eighth(d), quarter(f), quarter(eighth(h))]);
        [zero, first, second, third, fourth, fifth, sixth, seventh]
    }};
}

/// The transform of `R` vectors, 4, 8 or 16 of them: `load` gives the one of an index, `store` takes the one of a bin.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn transform<const R: usize>(load: impl Fn(usize) -> Vector, mut store: impl FnMut(usize, Vector)) {
    const { assert!(R == 4 || R == 8 || R == 16) };
    if R == 4 {
        let [a, b, c, d] = four([load(0), load(1), load(2), load(3)]);
        store(0, a);
        store(1, b);
        store(2, c);
        store(3, d);
    } else if R == 8 {
        let [a, b, c, d, e, f, g, h] = eight!(load, 0, 1);
        store(0, a);
        store(1, b);
        store(2, c);
        store(3, d);
        store(4, e);
        store(5, f);
        store(6, g);
        store(7, h);
    } else {
        // More than the registers hold: the one half waits in memory, which the compiler cannot choose better; as vectors,
        // each in one cache line.
        let mut even: [Vector; 8] = eight!(load, 0, 2);
        let even = black_box(&mut even);
        let [a, b, c, d, e, f, g, h] = eight!(load, 1, 2);
        let mut put = |bin: usize, odd: Vector| {
            let [near, far] = two(even[bin], odd);
            store(bin, near);
            store(bin + 8, far);
        };
        put(0, a);
        put(1, by(b, [COS, -SIN]));
        put(2, eighth(c));
        put(3, by(d, [SIN, -COS]));
        put(4, quarter(e));
        put(5, by(f, [-SIN, -COS]));
        put(6, quarter(eighth(g)));
        put(7, by(h, [-COS, -SIN]));
    }
}

/// The bins of sixteen vectors of real numbers: the real parts of 0 to 7, their imaginary parts, and 8, which is real.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn real_bins(x: [__m512d; 16]) -> ([__m512d; 8], [__m512d; 8], __m512d) {
    // Bins 0, 2 and 1 of each fourth number.
    let part = |n: usize| {
        let (even, odd) = (_mm512_add_pd(x[n], x[n + 8]), _mm512_add_pd(x[n + 4], x[n + 12]));
        let (re, im) = (_mm512_sub_pd(x[n], x[n + 8]), _mm512_sub_pd(x[n + 12], x[n + 4]));
        (_mm512_add_pd(even, odd), _mm512_sub_pd(even, odd), Vector { re, im })
    };
    let ((a0, a2, a1), (b0, b2, b1)) = (part(0), part(1));
    let ((c0, c2, c1), (d0, d2, d1)) = (part(2), part(3));
    let (even, odd) = (_mm512_add_pd(a0, c0), _mm512_add_pd(b0, d0));
    let zero = _mm512_setzero_pd();
    let [one, five, nine, thirteen] = four([a1, by(b1, [COS, -SIN]), eighth(c1), by(d1, [SIN, -COS])]);
    let (root, other) = (_mm512_set1_pd(FRAC_1_SQRT_2), _mm512_set1_pd(-FRAC_1_SQRT_2));
    let (apart, sum) = (_mm512_sub_pd(b2, d2), _mm512_add_pd(b2, d2));
    let re = [
        _mm512_add_pd(even, odd),
        one.re,
        _mm512_fmadd_pd(apart, root, a2),
        thirteen.re,
        _mm512_sub_pd(a0, c0),
        five.re,
        _mm512_fmadd_pd(apart, other, a2),
        nine.re,
    ];
    let im = [
        zero,
        one.im,
        _mm512_fmsub_pd(sum, other, c2),
        _mm512_sub_pd(zero, thirteen.im),
        _mm512_sub_pd(d0, b0),
        five.im,
        _mm512_fmadd_pd(sum, other, c2),
        _mm512_sub_pd(zero, nine.im),
    ];
    (re, im, _mm512_sub_pd(even, odd))
}
