//! Squares of numbers that are turned in registers.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

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
