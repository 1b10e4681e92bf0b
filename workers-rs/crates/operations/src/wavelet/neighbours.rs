//! All levels of a few neighbouring lines of doubles side by side, a line in each lane of a vector. Of floats a vector holds
//! so many that a line fills it better alone.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

mod join;
mod rotations;
mod split;

use std::arch::x86_64::__m256d;

use npufleet_wire::Result;
use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::extend::{Element, Mode};
use super::lattice::Lattice;
use super::line::Places;
use super::work::{LANES, Row};
use crate::common::{Pace, SIDE};
use join::Join;
use split::Split;

/// Elements of a line that become a block of coefficients, and come from one.
const STEP: usize = 2 * SIDE;
/// Blocks between two looks at the context.
const BLOCKS: usize = 1 << 10;

/// Calls a method that is compiled for every number of rotations that a lattice has.
macro_rules! by_half {
    ($half:expr, $self:ident.$method:ident()) => {
        match $half {
            2 => $self.$method::<2>(),
            3 => $self.$method::<3>(),
            4 => $self.$method::<4>(),
            5 => $self.$method::<5>(),
            6 => $self.$method::<6>(),
            7 => $self.$method::<7>(),
            8 => $self.$method::<8>(),
            _ => $self.$method::<9>(),
        }
    };
}
use by_half;

/// What it takes to work on lines one behind the other.
pub(super) struct Neighbours<'a, 'b> {
    pub(super) simd: V3,
    /// The number of the first line.
    pub(super) first: usize,
    pub(super) lattice: &'a Lattice,
    pub(super) mode: Mode,
    pub(super) rows: &'a mut [Vec<Row>; 2],
    pub(super) pace: &'a mut Pace<'b>,
}

impl Neighbours<'_, '_> {
    /// Decomposes lines of `length` samples; `x` are the bytes of all lines. Their coefficients go to `area`, where for each
    /// level `places` has the beginning of the first of all lines, and how many each line has.
    ///
    /// False where an approximation is not finite, which the lattice may have made of what the filters would not.
    pub(super) fn decompose(self, x: &[u8], length: usize, area: &mut [f64], places: Places<'_>) -> Result<bool> {
        let simd = self.simd;
        run(
            simd,
            Split {
                neighbours: self,
                x,
                length,
                area,
                places,
            },
        )
    }

    /// Reconstructs lines of `length` samples; `y` are those of all lines. Of each level `coefficients` has the bytes of all
    /// lines, and how many each line has.
    ///
    /// False where a sample is not finite.
    pub(super) fn reconstruct(self, coefficients: &[(&[u8], usize)], length: usize, y: &mut [f64]) -> Result<bool> {
        let simd = self.simd;
        run(
            simd,
            Join {
                neighbours: self,
                coefficients,
                length,
                y,
            },
        )
    }
}

/// Does work with twice as many registers where the processor has them: with the others, lattices of four rotations and more
/// wait for memory.
#[allow(unsafe_code, reason = "the processor has what it is called for")]
fn run<W: NullaryFnOnce>(simd: V3, work: W) -> W::Output {
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    fn with_more_registers<W: NullaryFnOnce>(work: W) -> W::Output {
        work.call()
    }
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        return unsafe { with_more_registers(work) };
    }
    simd.vectorize(work)
}

/// The bytes of the lines from one on, of so many elements each.
#[inline(always)]
fn group(bytes: &[u8], first: usize, length: usize) -> &[u8] {
    &bytes[first * length * size_of::<f64>()..][..LANES * length * size_of::<f64>()]
}

/// The elements of one number, of lines of so many each.
#[inline(always)]
fn row(x: &[u8], length: usize, at: usize) -> Row {
    let (numbers, mut row) = (x.as_chunks().0, Row::default());
    for (lane, number) in row.0.iter_mut().enumerate() {
        *number = f64::from_le_bytes(numbers[lane * length + at]);
    }
    row
}

/// Each of the lines.
#[inline(always)]
fn lanes(bytes: &[u8], length: usize) -> [&[u8]; LANES] {
    let line = |lane: usize| &bytes[lane * length * size_of::<f64>()..][..length * size_of::<f64>()];
    [line(0), line(1), line(2), line(3)]
}

/// The same, where they are written.
#[inline(always)]
fn lanes_mut(numbers: &mut [f64], length: usize) -> [&mut [f64]; LANES] {
    let (front, back) = numbers.split_at_mut(2 * length);
    let ((a, b), (c, d)) = (front.split_at_mut(length), back[..2 * length].split_at_mut(length));
    [a, b, c, d]
}

/// Puts the elements of one number into lines.
#[inline(always)]
fn put(lines: &mut [&mut [f64]; LANES], at: usize, row: __m256d) {
    for (line, number) in lines.iter_mut().zip(cast::<_, [f64; LANES]>(row)) {
        line[at] = number;
    }
}

impl Row {
    #[inline(always)]
    fn vector(self) -> __m256d {
        cast(self.0)
    }

    #[inline(always)]
    fn of(vector: __m256d) -> Self {
        Self(cast(vector))
    }
}

impl Element for Row {
    #[inline(always)]
    fn plus(self, Self(other): Self) -> Self {
        let Self(mut sums) = self;
        for (sum, number) in sums.iter_mut().zip(other) {
            *sum += number;
        }
        Self(sums)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    #[inline(always)]
    fn negated(self) -> Self {
        Self([-self.0[0], -self.0[1], -self.0[2], -self.0[3]])
    }

    #[inline(always)]
    fn times(self, count: usize) -> Self {
        let Self(mut products) = self;
        for product in &mut products {
            *product *= count as f64;
        }
        Self(products)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;
    use crate::wavelet::filters::Filters;

    fn first<'a, 'b>(simd: V3, rows: &'a mut [Vec<Row>; 2], pace: &'a mut Pace<'b>) -> Neighbours<'a, 'b> {
        Neighbours {
            simd,
            first: 0,
            lattice: Filters::find("db4")
                .and_then(|filters| filters.lattice.as_ref())
                .unwrap(),
            mode: Mode::Symmetric,
            rows,
            pace,
        }
    }

    /// Does work that succeeds, with more registers if the processor has them, or with those that all have.
    fn do_with(work: impl NullaryFnOnce<Output = Result<bool>>, has_more: bool) -> bool {
        let simd = V3::try_new().unwrap();
        let done = if has_more {
            run(simd, work)
        } else {
            simd.vectorize(work)
        };
        done.unwrap()
    }

    #[test]
    fn more_registers_change_no_number() {
        let Some(simd) = V3::try_new() else { return };
        let (length, places) = (100, [(0, 30), (120, 30), (240, 53)]);
        let x: Vec<f64> = (0..LANES * length).map(|index| (index as f64 * 0.37).sin()).collect();
        let there_and_back = |has_more: bool| {
            let (context, mut rows) = (Context::never(), [Vec::new(), Vec::new()]);
            let mut pace = Pace::new(&context);
            let (mut area, mut y) = (vec![0.0; LANES * (30 + 30 + 53)], vec![0.0; LANES * length]);
            let samples = bytemuck::cast_slice(&x);
            let there = Split {
                neighbours: first(simd, &mut rows, &mut pace),
                x: samples,
                length,
                area: &mut area,
                places: &places,
            };
            assert!(do_with(there, has_more));
            let coefficients =
                places.map(|(start, count)| (bytemuck::cast_slice(&area[start..][..LANES * count]), count));
            let back = Join {
                neighbours: first(simd, &mut rows, &mut pace),
                coefficients: &coefficients,
                length,
                y: &mut y,
            };
            assert!(do_with(back, has_more));
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-12));
            (area, y)
        };
        assert_eq!(there_and_back(true), there_and_back(false));
    }
}
