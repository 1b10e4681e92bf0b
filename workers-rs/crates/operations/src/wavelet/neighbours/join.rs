//! Reconstruction of neighbouring lines.

use std::arch::x86_64::__m256d;

use npufleet_wire::Result;
use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::rotations::{Rotations, Waiting};
use super::{BLOCKS, Neighbours, STEP, by_half, group, lanes, lanes_mut, put, row};
use crate::common::{Pace, SIDE, sized, turn};
use crate::wavelet::extend::Mode;
use crate::wavelet::work::{LANES, Row};

/// The work of [`Neighbours::reconstruct`].
pub(super) struct Join<'a, 'b> {
    pub(super) neighbours: Neighbours<'a, 'b>,
    pub(super) coefficients: &'a [(&'a [u8], usize)],
    pub(super) length: usize,
    pub(super) y: &'a mut [f64],
}

impl NullaryFnOnce for Join<'_, '_> {
    type Output = Result<bool>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        by_half!(self.neighbours.lattice.half, self.levels())
    }
}

impl Join<'_, '_> {
    #[inline(always)]
    fn levels<const HALF: usize>(self) -> Result<bool> {
        let Self {
            neighbours,
            coefficients,
            length,
            y,
        } = self;
        let Neighbours {
            simd,
            first,
            lattice,
            mode,
            rows: [finer, coarser],
            pace,
        } = neighbours;
        let rotations = Rotations::<HALF>::new(simd, lattice);
        // Of periodic coefficients some are needed again beyond the ends.
        let is_wrapped = mode == Mode::Periodization;
        let front = if is_wrapped { HALF / 2 } else { 0 };
        let (x, own) = (group(coefficients[0].0, first, coefficients[0].1), coefficients[0].1);
        let (approximation, lines) = (&mut sized(coarser, front + own)[front..], lanes(x, own));
        let (blocks, rest) = approximation.as_chunks_mut::<SIDE>();
        for (block, rows) in blocks.iter_mut().enumerate() {
            *rows = read(simd, &lines, block).map(Row::of);
        }
        for (at, place) in (own - rest.len()..).zip(rest) {
            *place = row(x, own, at);
        }
        let mut sums = [simd.avx._mm256_setzero_pd(); 2];
        for (index, &(high, count)) in coefficients[1..].iter().enumerate() {
            let is_last = index + 2 == coefficients.len();
            let samples = if is_last {
                length
            } else {
                2 * count - if is_wrapped { 0 } else { 2 * HALF - 2 }
            };
            // The first sample is the second of a pair.
            let is_odd = is_wrapped && HALF.is_multiple_of(2);
            let pairs = (samples + usize::from(is_odd)).div_ceil(2);
            let low = sized(coarser, HALF - 1 + pairs);
            if is_wrapped {
                wrap(low, front, count);
            }
            let mut level = Level {
                simd,
                rotations: &rotations,
                waiting: rotations.nothing(),
                low,
                high: group(high, first, count),
                count,
                front,
                skipped: usize::from(is_odd),
                sums,
                pace,
            };
            if is_last {
                level.join(pairs, &mut Lines(lanes_mut(&mut y[first * length..], length)))?;
            } else {
                let next = &mut sized(finer, front + samples)[front..];
                level.join(pairs, &mut Rows(next))?;
            }
            sums = level.sums;
            std::mem::swap(finer, coarser);
        }
        let [evens, odds]: [[f64; LANES]; 2] = cast(sums);
        Ok(evens.iter().chain(&odds).all(|sum| sum.is_finite()))
    }
}

/// Repeats so many elements from `front` on in front of them, and behind them to the end of the rows.
#[inline(always)]
fn wrap(rows: &mut [Row], front: usize, count: usize) {
    for step in 0..front {
        rows[front - 1 - step] = rows[front + count - 1 - step % count];
    }
    for step in 0..rows.len().saturating_sub(front + count) {
        rows[front + count + step] = rows[front + step % count];
    }
}

/// Reads a block of coefficients from their lines.
#[inline(always)]
fn read(simd: V3, lines: &[&[u8]; LANES], block: usize) -> [__m256d; SIDE] {
    let line = |lane: usize| -> __m256d {
        bytemuck::pod_read_unaligned(&lines[lane].as_chunks::<{ SIDE * size_of::<f64>() }>().0[block])
    };
    turn(simd, [line(0), line(1), line(2), line(3)])
}

/// One level.
struct Level<'a, 'b, const HALF: usize> {
    simd: V3,
    rotations: &'a Rotations<HALF>,
    waiting: Waiting<HALF>,
    /// The approximations from `front` in front of the first one on.
    low: &'a [Row],
    /// The details' bytes, and how many a line has.
    high: &'a [u8],
    count: usize,
    front: usize,
    /// Elements that are made in front of the first one that is wanted, 0 or 1.
    skipped: usize,
    /// Of samples of even and of odd numbers, to see whether one is not finite.
    sums: [__m256d; 2],
    pace: &'a mut Pace<'b>,
}

impl<const HALF: usize> Level<'_, '_, HALF> {
    /// Makes so many pairs of elements.
    #[inline(always)]
    fn join(&mut self, pairs: usize, target: &mut impl Target) -> Result<()> {
        for at in 0..HALF - 1 {
            self.pair(at);
        }
        let first = self.skipped.min(pairs);
        for pair in 0..first {
            self.one(pair, target);
        }
        // Details that are where they are.
        let start = HALF - 1 + first - self.front;
        let blocks = (self.count.saturating_sub(start) / SIDE).min((target.length() - first) / STEP);
        if blocks > 0 {
            self.blocks(blocks, start, first, target)?;
        }
        for pair in first + blocks * SIDE..pairs {
            self.one(pair, target);
        }
        Ok(())
    }

    /// The pair of elements that the coefficients of a number, counted from the first of `low` on, complete.
    #[inline(always)]
    fn pair(&mut self, at: usize) -> [__m256d; 2] {
        let own = (at + self.count * self.front - self.front) % self.count;
        let high = row(self.high, self.count, own);
        self.rotations
            .together([self.low[at].vector(), high.vector()], &mut self.waiting)
    }

    /// Makes one pair, as much of it as is wanted.
    #[inline(always)]
    fn one(&mut self, pair: usize, target: &mut impl Target) {
        let made = self.pair(HALF - 1 + pair);
        for (side, made) in made.into_iter().enumerate() {
            let at = (2 * pair + side).wrapping_sub(self.skipped);
            if at < target.length() {
                self.sums[side] = self.simd.avx._mm256_add_pd(self.sums[side], made);
                target.one(at, made);
            }
        }
    }

    /// Makes blocks of pairs from the details `start` on, and elements from `first` on.
    #[inline(always)]
    fn blocks(&mut self, blocks: usize, start: usize, first: usize, target: &mut impl Target) -> Result<()> {
        let high = lanes(self.high, self.count);
        let from = start * size_of::<f64>();
        let high = [&high[0][from..], &high[1][from..], &high[2][from..], &high[3][from..]];
        let low = self.low[start + self.front..].as_chunks::<SIDE>().0;
        let avx = self.simd.avx;
        for begin in (0..blocks).step_by(BLOCKS) {
            let blocks = begin..blocks.min(begin + BLOCKS);
            self.pace.step(blocks.len() * SIDE * LANES * HALF)?;
            let (mut waiting, mut sums) = (self.waiting, self.sums);
            for (block, low) in blocks.clone().zip(&low[blocks]) {
                let (high, mut made) = (read(self.simd, &high, block), [avx._mm256_setzero_pd(); STEP]);
                for (pair, made) in made.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    *made = self.rotations.together([low[pair].vector(), high[pair]], &mut waiting);
                    sums = [avx._mm256_add_pd(sums[0], made[0]), avx._mm256_add_pd(sums[1], made[1])];
                }
                target.eight(self.simd, first, block, made);
            }
            (self.waiting, self.sums) = (waiting, sums);
        }
        Ok(())
    }
}

/// Where elements go.
trait Target {
    /// How many there are of each line.
    fn length(&self) -> usize;
    /// Takes the elements of one number.
    fn one(&mut self, at: usize, row: __m256d);
    /// Takes a block of elements, counted from `first` on.
    fn eight(&mut self, simd: V3, first: usize, block: usize, rows: [__m256d; STEP]);
}

/// Elements of all lines.
struct Rows<'a>(&'a mut [Row]);

impl Target for Rows<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn one(&mut self, at: usize, row: __m256d) {
        self.0[at] = Row::of(row);
    }

    #[inline(always)]
    fn eight(&mut self, _: V3, first: usize, block: usize, rows: [__m256d; STEP]) {
        self.0[first..].as_chunks_mut::<STEP>().0[block] = rows.map(Row::of);
    }
}

/// The samples of each line.
struct Lines<'a>([&'a mut [f64]; LANES]);

impl Target for Lines<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.0[0].len()
    }

    #[inline(always)]
    fn one(&mut self, at: usize, row: __m256d) {
        put(&mut self.0, at, row);
    }

    #[inline(always)]
    fn eight(&mut self, simd: V3, first: usize, block: usize, rows: [__m256d; STEP]) {
        let [front, back]: [[__m256d; SIDE]; 2] = cast(rows);
        let (front, back) = (turn(simd, front), turn(simd, back));
        for (lane, line) in self.0.iter_mut().enumerate() {
            line[first..].as_chunks_mut::<STEP>().0[block] = cast([front[lane], back[lane]]);
        }
    }
}
