//! The transform of a long real line in double precision: of each fourth pair of samples one that stays in the
//! second-level cache, and a single pass that joins the four and takes the real bins apart.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use std::array::from_fn;
use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::Arc;

use num_complex::Complex;
use pulp::x86::V3;
use pulp::{NullaryFnOnce, Simd, cast, f64x4};
use rustfft::{Fft, FftPlanner};

use super::one_sided::RealLine;
use super::plans::LineWork;
use super::sample::fill;
use super::sized;

type Number = Complex<f64>;

/// Bins that are joined at a time.
const WIDTH: usize = 4;
/// The order in which vectors hold neighbours: that in which they are cheapest taken from complex numbers.
const ORDER: [usize; WIDTH] = [0, 2, 1, 3];

/// A prepared transform of real lines of one length, which is a multiple of 32.
pub(super) struct Quarters {
    simd: V3,
    quarter: Arc<dyn Fft<f64>>,
    /// The factors of the bins 1 to 4, 5 to 8, ..., up to the middle of a quarter.
    factors: Vec<[Vector; 4]>,
    /// Those of the bins up to the middle that are left.
    rest: Vec<[Number; 4]>,
}

/// The factors of a bin: three of the join, and half of what takes the real bins apart.
fn factors(bin: usize, quarter: usize) -> [Number; 4] {
    let turn = |bin: usize| Complex::from_polar(1.0, -PI * bin as f64 / (4 * quarter) as f64);
    [turn(2 * bin), turn(4 * bin), turn(6 * bin), turn(bin) * 0.5]
}

impl Quarters {
    /// None where the processor lacks the vectors, or the length the divisors.
    pub(super) fn new(planner: &mut FftPlanner<f64>, points: usize) -> Option<Self> {
        let simd = V3::try_new().filter(|_| points > 0 && points.is_multiple_of(32))?;
        let quarter = points / 8;
        let blocks = (quarter / 2 - 1) / WIDTH;
        let block = |block: usize| {
            let lanes = ORDER.map(|lane| factors(1 + block * WIDTH + lane, quarter));
            from_fn(|factor| {
                vector(
                    cast(lanes.map(|lane| lane[factor].re)),
                    cast(lanes.map(|lane| lane[factor].im)),
                )
            })
        };
        Some(Self {
            simd,
            quarter: planner.plan_fft_forward(quarter),
            factors: (0..blocks).map(block).collect(),
            rest: (1 + blocks * WIDTH..=quarter / 2)
                .map(|bin| factors(bin, quarter))
                .collect(),
        })
    }
}

impl RealLine<f64> for Quarters {
    fn points(&self) -> usize {
        8 * self.quarter.len()
    }

    fn line(&self, source: &[u8], spectrum: &mut [Number], work: &mut LineWork<f64>) {
        let points = self.points();
        let samples: &[[f64; 8]] = match bytemuck::try_cast_slice(source) {
            Ok(samples) if 8 * samples.len() == points => samples,
            _ => {
                let samples = sized(&mut work.samples, points);
                fill(samples, source);
                bytemuck::cast_slice(samples)
            }
        };
        let (inner, last) = spectrum.split_at_mut(points / 2);
        let mut quarters = four(inner);
        let [a, b, c, d] = &mut quarters;
        for ((((sample, a), b), c), d) in samples.iter().zip(&mut **a).zip(&mut **b).zip(&mut **c).zip(&mut **d) {
            [*a, *b, *c, *d] = cast(*sample);
        }
        let scratch = sized(&mut work.scratch, self.quarter.get_inplace_scratch_len());
        for quarter in &mut quarters {
            self.quarter.process_with_scratch(quarter, scratch);
        }
        let ends = joined(quarters.each_ref().map(|quarter| quarter[0]), [Complex::ONE; 3]);
        self.simd.vectorize(Join(self, &mut quarters));
        let half = Complex::from_polar(0.5, -PI / 4.0);
        last[0] = Complex::new(ends[0].re - ends[0].im, 0.0);
        quarters[0][0] = Complex::new(ends[0].re + ends[0].im, 0.0);
        [quarters[1][0], quarters[3][0]] = apart(ends[1], ends[3], half);
        quarters[2][0] = ends[2].conj();
    }
}

/// The quarters of a line's bins.
fn four(bins: &mut [Number]) -> [&mut [Number]; 4] {
    let (front, back) = bins.split_at_mut(bins.len() / 2);
    let ((a, b), (c, d)) = (front.split_at_mut(front.len() / 2), back.split_at_mut(back.len() / 2));
    [a, b, c, d]
}

/// Joins the bins of four transforms to four bins, a quarter apart, of one.
fn joined([a, b, c, d]: [Number; 4], [one, two, three]: [Number; 3]) -> [Number; 4] {
    let (b, c, d) = (b * one, c * two, d * three);
    let (even, odd, turned) = (a + c, b + d, (b - d) * Complex::I);
    [even + odd, a - c - turned, even - odd, a - c + turned]
}

/// Makes a bin and its mirror image of a real line.
fn apart(one: Number, other: Number, factor: Number) -> [Number; 2] {
    let other = other.conj();
    let (sum, turned) = ((one + other) * 0.5, (one - other) * factor * Complex::I);
    [sum - turned, (sum + turned).conj()]
}

/// The four transforms, to become the bins of the real line but for the first of each.
struct Join<'a, 'b>(&'a Quarters, &'a mut [&'b mut [Number]; 4]);

impl NullaryFnOnce for Join<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(
            Quarters {
                simd, factors, rest, ..
            },
            quarters,
        ) = self;
        let length = quarters[0].len();
        for (block, factors) in factors.iter().enumerate() {
            let front = 1 + block * WIDTH;
            vectors_joined(*simd, quarters, [front, length - front + 1 - WIDTH], *factors);
        }
        for (bin, factors) in (1 + factors.len() * WIDTH..).zip(rest) {
            let mirror = length - bin;
            let [one, two, three, half] = *factors;
            let near = joined(quarters.each_ref().map(|quarter| quarter[bin]), [one, two, three]);
            let mirrored = [-one.conj() * Complex::I, -two.conj(), three.conj() * Complex::I];
            let far = joined(quarters.each_ref().map(|quarter| quarter[mirror]), mirrored);
            for (index, factor) in eighths(half).into_iter().enumerate() {
                let [bin_there, mirror_there] = apart(near[index], far[3 - index], factor);
                quarters[index][bin] = bin_there;
                quarters[3 - index][mirror] = mirror_there;
            }
        }
    }
}

/// The factors that take real bins apart of bins a quarter apart, by that of the first.
fn eighths(first: Number) -> [Number; 4] {
    let eighth = Complex::new(FRAC_1_SQRT_2, -FRAC_1_SQRT_2);
    let turned = |number: Number| Complex::new(number.im, -number.re);
    [first, first * eighth, turned(first), turned(first * eighth)]
}

/// Neighbouring complex numbers, in the order of [`ORDER`].
#[derive(Clone, Copy)]
struct Vector {
    re: f64x4,
    im: f64x4,
}

#[inline(always)]
const fn vector(re: f64x4, im: f64x4) -> Vector {
    Vector { re, im }
}

/// As the rest of `Join`, for the bins from the first of `at` on and their mirror images, which end before the second
/// and are counted down.
#[inline(always)]
fn vectors_joined(simd: V3, quarters: &mut [&mut [Number]; 4], at: [usize; 2], factors: [Vector; 4]) {
    let [one, two, three, half] = factors;
    let [front, back] = at;
    let near = [
        load(simd, &quarters[0][front..]),
        load(simd, &quarters[1][front..]),
        load(simd, &quarters[2][front..]),
        load(simd, &quarters[3][front..]),
    ];
    let far = [
        reverse(simd, load(simd, &quarters[0][back..])),
        reverse(simd, load(simd, &quarters[1][back..])),
        reverse(simd, load(simd, &quarters[2][back..])),
        reverse(simd, load(simd, &quarters[3][back..])),
    ];
    let mirrored = [
        vector(simd.neg_f64s(one.im), simd.neg_f64s(one.re)),
        vector(simd.neg_f64s(two.re), two.im),
        vector(three.im, three.re),
    ];
    let (near, far) = (join(simd, near, [one, two, three]), join(simd, far, mirrored));
    let root = simd.splat_f64s(FRAC_1_SQRT_2);
    let eighth = vector(
        simd.mul_f64s(simd.add_f64s(half.re, half.im), root),
        simd.mul_f64s(simd.sub_f64s(half.im, half.re), root),
    );
    let halves = [half, eighth, turned(simd, half), turned(simd, eighth)];
    for index in 0..4 {
        let (bin, mirror) = take_apart(simd, near[index], far[3 - index], halves[index]);
        store(simd, bin, &mut quarters[index][front..]);
        store(simd, reverse(simd, mirror), &mut quarters[3 - index][back..]);
    }
}

#[inline(always)]
fn join(simd: V3, [a, b, c, d]: [Vector; 4], [one, two, three]: [Vector; 3]) -> [Vector; 4] {
    let (b, c, d) = (times(simd, b, one), times(simd, c, two), times(simd, d, three));
    let (even, odd) = (plus(simd, a, c), plus(simd, b, d));
    let (apart, turned) = (minus(simd, a, c), turned(simd, minus(simd, b, d)));
    [
        plus(simd, even, odd),
        plus(simd, apart, turned),
        minus(simd, even, odd),
        minus(simd, apart, turned),
    ]
}

#[inline(always)]
fn plus(simd: V3, a: Vector, b: Vector) -> Vector {
    vector(simd.add_f64s(a.re, b.re), simd.add_f64s(a.im, b.im))
}

#[inline(always)]
fn minus(simd: V3, a: Vector, b: Vector) -> Vector {
    vector(simd.sub_f64s(a.re, b.re), simd.sub_f64s(a.im, b.im))
}

/// Divided by the imaginary unit.
#[inline(always)]
fn turned(simd: V3, number: Vector) -> Vector {
    vector(number.im, simd.neg_f64s(number.re))
}

#[inline(always)]
fn take_apart(simd: V3, one: Vector, other: Vector, factor: Vector) -> (Vector, Vector) {
    let half = simd.splat_f64s(0.5);
    let sum_re = simd.mul_f64s(simd.add_f64s(one.re, other.re), half);
    let sum_im = simd.mul_f64s(simd.sub_f64s(one.im, other.im), half);
    let difference = vector(simd.sub_f64s(one.re, other.re), simd.add_f64s(one.im, other.im));
    let turned = times(simd, difference, factor);
    let near = vector(simd.add_f64s(sum_re, turned.im), simd.sub_f64s(sum_im, turned.re));
    let far_im = simd.neg_f64s(simd.add_f64s(sum_im, turned.re));
    (near, vector(simd.sub_f64s(sum_re, turned.im), far_im))
}

#[inline(always)]
fn times(simd: V3, a: Vector, b: Vector) -> Vector {
    vector(
        simd.mul_sub_f64x4(a.re, b.re, simd.mul_f64s(a.im, b.im)),
        simd.mul_add_f64s(a.re, b.im, simd.mul_f64s(a.im, b.re)),
    )
}

#[inline(always)]
fn load(simd: V3, numbers: &[Number]) -> Vector {
    let halves: &[f64x4] = bytemuck::cast_slice(&numbers[..WIDTH]);
    let [re, im] = unpack(simd, halves[0], halves[1]);
    vector(re, im)
}

#[inline(always)]
fn store(simd: V3, parts: Vector, numbers: &mut [Number]) {
    let halves: &mut [f64x4] = bytemuck::cast_slice_mut(&mut numbers[..WIDTH]);
    halves.copy_from_slice(&unpack(simd, parts.re, parts.im));
}

/// Real and imaginary parts of two pairs of numbers, and back.
#[inline(always)]
fn unpack(simd: V3, a: f64x4, b: f64x4) -> [f64x4; 2] {
    let (a, b) = (cast(a), cast(b));
    [
        cast(simd.avx._mm256_unpacklo_pd(a, b)),
        cast(simd.avx._mm256_unpackhi_pd(a, b)),
    ]
}

/// The same numbers counted down.
#[inline(always)]
fn reverse(simd: V3, numbers: Vector) -> Vector {
    let (re, im) = (cast(numbers.re), cast(numbers.im));
    vector(
        cast(simd.avx2._mm256_permute4x64_pd::<0b00_01_10_11>(re)),
        cast(simd.avx2._mm256_permute4x64_pd::<0b00_01_10_11>(im)),
    )
}
