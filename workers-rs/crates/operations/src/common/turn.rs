//! Squares of numbers that are turned in registers.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use std::arch::x86_64::{__m512d, _mm512_shuffle_f64x2, _mm512_unpackhi_pd, _mm512_unpacklo_pd};

use bytemuck::Pod;
use pulp::cast;
use pulp::x86::V3;

/// Doubles of a vector: the sides of the squares.
pub(crate) const SIDE: usize = 4;

/// Makes rows of columns, whatever type the vectors have.
#[inline(always)]
pub(crate) fn turn<V: Pod>(simd: V3, [a, b, c, d]: [V; SIDE]) -> [V; SIDE] {
    let even = |one, other| simd.avx._mm256_unpacklo_pd(cast(one), cast(other));
    let odd = |one, other| simd.avx._mm256_unpackhi_pd(cast(one), cast(other));
    let ([ab, cd], [ab_odd, cd_odd]) = ([even(a, b), even(c, d)], [odd(a, b), odd(c, d)]);
    [
        cast(simd.avx._mm256_permute2f128_pd::<0x20>(ab, cd)),
        cast(simd.avx._mm256_permute2f128_pd::<0x20>(ab_odd, cd_odd)),
        cast(simd.avx._mm256_permute2f128_pd::<0x31>(ab, cd)),
        cast(simd.avx._mm256_permute2f128_pd::<0x31>(ab_odd, cd_odd)),
    ]
}

/// Eight vectors, of the first numbers of the given ones, of their second numbers, ...
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
#[allow(
    clippy::large_types_passed_by_value,
    reason = "this is inlined: the vectors are in registers"
)]
pub(crate) fn transposed(rows: [__m512d; 8]) -> [__m512d; 8] {
    let (low, high) = (_mm512_unpacklo_pd, _mm512_unpackhi_pd);
    let even = lanes([
        low(rows[0], rows[1]),
        low(rows[2], rows[3]),
        low(rows[4], rows[5]),
        low(rows[6], rows[7]),
    ]);
    let odd = lanes([
        high(rows[0], rows[1]),
        high(rows[2], rows[3]),
        high(rows[4], rows[5]),
        high(rows[6], rows[7]),
    ]);
    [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
}

/// The same with pairs of numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn lanes([a, b, c, d]: [__m512d; 4]) -> [__m512d; 4] {
    const EVEN: i32 = 0x88;
    const ODD: i32 = 0xdd;
    let (front, back) = (_mm512_shuffle_f64x2::<EVEN>(a, b), _mm512_shuffle_f64x2::<EVEN>(c, d));
    let (other_front, other_back) = (_mm512_shuffle_f64x2::<ODD>(a, b), _mm512_shuffle_f64x2::<ODD>(c, d));
    [
        _mm512_shuffle_f64x2::<EVEN>(front, back),
        _mm512_shuffle_f64x2::<EVEN>(other_front, other_back),
        _mm512_shuffle_f64x2::<ODD>(front, back),
        _mm512_shuffle_f64x2::<ODD>(other_front, other_back),
    ]
}
