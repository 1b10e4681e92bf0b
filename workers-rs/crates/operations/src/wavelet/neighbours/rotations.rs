//! A lattice in vectors, there and back.

use std::arch::x86_64::__m256d;

use pulp::x86::V3;

use crate::wavelet::lattice::Lattice;

/// The rotations of a lattice for every lane.
pub(super) struct Rotations<const HALF: usize> {
    simd: V3,
    first: [[__m256d; 2]; 2],
    /// All but the first.
    tangents: [__m256d; HALF],
}

/// What waits for the next pair at each rotation but the first.
pub(super) type Waiting<const HALF: usize> = [__m256d; HALF];

impl<const HALF: usize> Rotations<HALF> {
    #[inline(always)]
    pub(super) fn new(simd: V3, lattice: &Lattice) -> Self {
        let splat = |number| simd.avx._mm256_set1_pd(number);
        let [[a, b], [c, d]] = lattice.first;
        let mut tangents = [splat(0.0); HALF];
        for (vector, tangent) in tangents[1..].iter_mut().zip(lattice.tangents) {
            *vector = splat(tangent);
        }
        Self {
            simd,
            first: [[splat(a), splat(b)], [splat(c), splat(d)]],
            tangents,
        }
    }

    /// Nothing that waits.
    #[inline(always)]
    pub(super) fn nothing(&self) -> Waiting<HALF> {
        [self.simd.avx._mm256_setzero_pd(); HALF]
    }

    /// The approximation and the detail that a pair of elements completes.
    #[inline(always)]
    pub(super) fn apart(&self, [even, odd]: [__m256d; 2], waiting: &mut Waiting<HALF>) -> [__m256d; 2] {
        let (avx, fma) = (self.simd.avx, self.simd.fma);
        let [[a, b], [c, d]] = self.first;
        let mut low = fma._mm256_fmadd_pd(odd, b, avx._mm256_mul_pd(even, a));
        let mut high = fma._mm256_fmadd_pd(odd, d, avx._mm256_mul_pd(even, c));
        for (waiting, tangent) in waiting[1..].iter_mut().zip(&self.tangents[1..]) {
            let earlier = std::mem::replace(waiting, low);
            low = fma._mm256_fmadd_pd(*tangent, high, earlier);
            high = fma._mm256_fnmadd_pd(*tangent, earlier, high);
        }
        [low, high]
    }

    /// The pair of elements that an approximation and a detail complete: the rotations are turned back, the last one first,
    /// and what did not wait there waits here.
    #[inline(always)]
    pub(super) fn together(&self, [mut low, mut high]: [__m256d; 2], waiting: &mut Waiting<HALF>) -> [__m256d; 2] {
        let (avx, fma) = (self.simd.avx, self.simd.fma);
        let [[a, b], [c, d]] = self.first;
        for (waiting, tangent) in waiting[1..].iter_mut().zip(&self.tangents[1..]).rev() {
            let later = fma._mm256_fmadd_pd(*tangent, low, high);
            low = fma._mm256_fnmadd_pd(*tangent, high, low);
            high = std::mem::replace(waiting, later);
        }
        let even = fma._mm256_fmadd_pd(high, c, avx._mm256_mul_pd(low, a));
        let odd = fma._mm256_fmadd_pd(high, d, avx._mm256_mul_pd(low, b));
        [even, odd]
    }
}
