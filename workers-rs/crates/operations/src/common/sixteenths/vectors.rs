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

/// The transform of `R` vectors, 4, 8 or 16 of them: `load` gives the one of an index, `store` takes the one of a bin.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn transform<const R: usize>(load: impl Fn(usize) -> Vector, mut store: impl FnMut(usize, Vector)) {
    const { assert!(R == 4 || R == 8 || R == 16) };
    let mut put = |first: usize, bins: [Vector; 4]| {
        let [a, b, c, d] = bins;
        store(first, a);
        store(first + R / 4, b);
        store(first + R / 2, c);
        store(first + 3 * R / 4, d);
    };
    if R == 4 {
        put(0, four([load(0), load(1), load(2), load(3)]));
    } else if R == 8 {
        let ([a, b], [c, d]) = (two(load(0), load(4)), two(load(1), load(5)));
        let ([e, f], [g, h]) = (two(load(2), load(6)), two(load(3), load(7)));
        put(0, four([a, c, e, g]));
        put(1, four([b, eighth(d), quarter(f), quarter(eighth(h))]));
    } else {
        let a = four([load(0), load(4), load(8), load(12)]);
        let b = four([load(1), load(5), load(9), load(13)]);
        let c = four([load(2), load(6), load(10), load(14)]);
        let d = four([load(3), load(7), load(11), load(15)]);
        put(0, four([a[0], b[0], c[0], d[0]]));
        put(
            1,
            four([a[1], by(b[1], [COS, -SIN]), eighth(c[1]), by(d[1], [SIN, -COS])]),
        );
        put(2, four([a[2], eighth(b[2]), quarter(c[2]), quarter(eighth(d[2]))]));
        put(
            3,
            four([
                a[3],
                by(b[3], [SIN, -COS]),
                quarter(eighth(c[3])),
                by(d[3], [-COS, SIN]),
            ]),
        );
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
