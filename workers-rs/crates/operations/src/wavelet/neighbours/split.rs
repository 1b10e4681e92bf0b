//! Decomposition of neighbouring lines.

use std::arch::x86_64::__m256d;
use std::ops::Range;

use npufleet_wire::Result;
use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::rotations::{Rotations, Waiting};
use super::{BLOCKS, Neighbours, STEP, by_half, group, lanes, lanes_mut, put, row};
use crate::common::{Pace, SIDE, sized, turn};
use crate::wavelet::extend::{Mode, before, behind};
use crate::wavelet::line::Places;
use crate::wavelet::work::{LANES, Row};

/// The work of [`Neighbours::decompose`].
pub(super) struct Split<'a, 'b> {
    pub(super) neighbours: Neighbours<'a, 'b>,
    pub(super) x: &'a [u8],
    pub(super) length: usize,
    pub(super) area: &'a mut [f64],
    pub(super) places: Places<'a>,
}

impl NullaryFnOnce for Split<'_, '_> {
    type Output = Result<bool>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        by_half!(self.neighbours.lattice.half, self.levels())
    }
}

impl Split<'_, '_> {
    #[inline(always)]
    fn levels<const HALF: usize>(self) -> Result<bool> {
        let Self {
            neighbours,
            x,
            mut length,
            area,
            places,
        } = self;
        let Neighbours {
            simd,
            first,
            lattice,
            mode,
            rows: [coarser, finer],
            pace,
        } = neighbours;
        let x = group(x, first, length);
        let rotations = Rotations::<HALF>::new(simd, lattice);
        let (front, filling) = (mode.front(HALF), 2 * (HALF - 1));
        // Of the lines only the ends are made rows, as much as extensions and blocks at the edge are made of; what is cut out
        // between them is an even number, which no extension notices.
        let end = filling + STEP;
        let mut cut = length.saturating_sub(2 * end) / 2 * 2;
        let ends = &mut sized(finer, front + length - cut)[front..];
        for (at, place) in ends.iter_mut().enumerate() {
            *place = row(x, length, if at < end { at } else { at + cut });
        }
        for &(start, count) in places[1..].iter().rev() {
            let source = sized(finer, filling + 2 * count - cut);
            extend(mode, source, front, length - cut);
            let low = &mut sized(coarser, front + count)[front..];
            let high = lanes_mut(&mut area[start + first * count..], count);
            let mut level = Level {
                simd,
                rotations: &rotations,
                waiting: rotations.nothing(),
                low,
                high,
                pace,
            };
            let (fill, source) = source.split_at(filling);
            level.fill(fill);
            // Elements that fill the lattice and are in the line.
            let inside = filling - front;
            let direct = if cut > 0 { (length - inside) / STEP } else { 0 };
            level.blocks(
                0..direct,
                &lanes(x, length).map(|line| &line[inside * size_of::<f64>()..]),
            )?;
            let rows = &source[direct * STEP - cut..];
            level.blocks(direct..count / SIDE, &Rows(rows.as_chunks().0, direct))?;
            level.rest(count / SIDE * SIDE, source, cut);
            std::mem::swap(coarser, finer);
            (length, cut) = (count, 0);
        }
        let (start, count) = places[0];
        let approximation = &finer[front..][..count];
        let mut lines = lanes_mut(&mut area[start + first * count..], count);
        let (blocks, rest) = approximation.as_chunks::<SIDE>();
        for (block, rows) in blocks.iter().enumerate() {
            write(simd, &mut lines, block, rows.map(Row::vector));
        }
        for (at, row) in (count - rest.len()..).zip(rest) {
            put(&mut lines, at, row.vector());
        }
        let sum = approximation.iter().fold([0.0; LANES], |sum, Row(row)| {
            [0, 1, 2, 3].map(|lane: usize| sum[lane] + row[lane] * 0.0)
        });
        Ok(sum.iter().all(|sum| !sum.is_nan()))
    }
}

/// Lets lines of so many elements go on in front of them, and behind them to the end of the rows.
#[inline(always)]
fn extend(mode: Mode, rows: &mut [Row], front: usize, length: usize) {
    for step in 1..=front {
        rows[front - step] = before(mode, |at| rows[front + at], length, step);
    }
    for step in 1..=rows.len() - front - length {
        rows[front + length + step - 1] = behind(mode, |at| rows[front + at], length, step);
    }
}

/// One level.
struct Level<'a, 'b, const HALF: usize> {
    simd: V3,
    rotations: &'a Rotations<HALF>,
    waiting: Waiting<HALF>,
    /// The approximations.
    low: &'a mut [Row],
    /// The details of each line.
    high: [&'a mut [f64]; LANES],
    pace: &'a mut Pace<'b>,
}

impl<const HALF: usize> Level<'_, '_, HALF> {
    /// Takes elements from which nothing comes out yet.
    #[inline(always)]
    fn fill(&mut self, rows: &[Row]) {
        for pair in rows.as_chunks::<2>().0 {
            self.rotations.apart(pair.map(Row::vector), &mut self.waiting);
        }
    }

    /// Makes blocks of coefficients.
    #[inline(always)]
    fn blocks(&mut self, blocks: Range<usize>, source: &impl Source) -> Result<()> {
        for first in blocks.clone().step_by(BLOCKS) {
            let blocks = first..blocks.end.min(first + BLOCKS);
            self.pace.step(blocks.len() * SIDE * LANES * HALF)?;
            let mut waiting = self.waiting;
            let lows = self.low.as_chunks_mut::<SIDE>().0[blocks.clone()].iter_mut();
            for (block, lows) in blocks.zip(lows) {
                let (rows, mut highs) = (
                    source.eight(self.simd, block),
                    [self.simd.avx._mm256_setzero_pd(); SIDE],
                );
                for ((pair, low), high) in rows.as_chunks::<2>().0.iter().zip(lows).zip(&mut highs) {
                    let made = self.rotations.apart(*pair, &mut waiting);
                    (*low, *high) = (Row::of(made[0]), made[1]);
                }
                write(self.simd, &mut self.high, block, highs);
            }
            self.waiting = waiting;
        }
        Ok(())
    }

    /// Makes the coefficients from a number on that are no block.
    #[inline(always)]
    fn rest(&mut self, from: usize, source: &[Row], cut: usize) {
        for at in from..self.low.len() {
            let pair = [source[2 * at - cut], source[2 * at + 1 - cut]];
            let [low, high] = self.rotations.apart(pair.map(Row::vector), &mut self.waiting);
            self.low[at] = Row::of(low);
            put(&mut self.high, at, high);
        }
    }
}

/// Writes a block of coefficients to their lines.
#[inline(always)]
fn write(simd: V3, lines: &mut [&mut [f64]; LANES], block: usize, rows: [__m256d; SIDE]) {
    for (line, numbers) in lines.iter_mut().zip(turn(simd, rows)) {
        line.as_chunks_mut::<SIDE>().0[block] = cast(numbers);
    }
}

/// The elements that a block of coefficients is made of.
trait Source {
    fn eight(&self, simd: V3, block: usize) -> [__m256d; STEP];
}

/// Samples from the beginning of a block in each line on.
impl Source for [&[u8]; LANES] {
    #[inline(always)]
    fn eight(&self, simd: V3, block: usize) -> [__m256d; STEP] {
        let line = |lane: usize| -> [__m256d; 2] {
            let bytes = &self[lane].as_chunks::<{ STEP * size_of::<f64>() }>().0[block];
            bytemuck::pod_read_unaligned(bytes)
        };
        let [a, b, c, d] = [line(0), line(1), line(2), line(3)];
        let front = turn(simd, [a[0], b[0], c[0], d[0]]);
        cast([front, turn(simd, [a[1], b[1], c[1], d[1]])])
    }
}

/// Elements of all lines from those of a block on.
struct Rows<'a>(&'a [[Row; STEP]], usize);

impl Source for Rows<'_> {
    #[inline(always)]
    fn eight(&self, _: V3, block: usize) -> [__m256d; STEP] {
        self.0[block - self.1].map(Row::vector)
    }
}
