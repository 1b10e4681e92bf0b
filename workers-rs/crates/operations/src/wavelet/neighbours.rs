//! All levels of a few neighbouring lines of doubles side by side, a line in each lane of a vector. Of floats a vector holds
//! so many that a line fills it better alone.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use std::ops::Range;

use npufleet_wire::Result;
use pulp::x86::V3;
use pulp::{NullaryFnOnce, Simd, cast, f64x4};

use super::extend::{Element, Mode, before, behind};
use super::lattice::Lattice;
use super::line::Places;
use super::work::LANES;
use crate::common::{Pace, Real, SIDE, sized, turn};

/// Elements that are read at once.
const STEP: usize = 2 * SIDE;
/// Blocks between two looks at the context.
const BLOCKS: usize = 1 << 10;

type Rows = Vec<[f64; LANES]>;

/// Lines one behind the other, and where their coefficients go.
pub(super) struct Neighbours<'a, 'b> {
    pub(super) simd: V3,
    pub(super) lattice: &'a Lattice,
    pub(super) mode: Mode,
    /// The lines' bytes, and how many samples each has.
    pub(super) x: &'a [u8],
    pub(super) length: usize,
    /// The results.
    pub(super) area: &'a mut [f64],
    /// Where the first line's coefficients of each level begin, and how many each line has.
    pub(super) places: Places<'a>,
    pub(super) rows: &'a mut [Rows; 2],
    pub(super) pace: &'a mut Pace<'b>,
}

impl Neighbours<'_, '_> {
    /// Decomposes the lines; false where an approximation is not finite, which the lattice may have made of what the
    /// filters would not.
    pub(super) fn decompose(self) -> Result<bool> {
        self.simd.vectorize(self)
    }
}

impl NullaryFnOnce for Neighbours<'_, '_> {
    type Output = Result<bool>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        match self.lattice.half {
            2 => self.levels::<2>(),
            3 => self.levels::<3>(),
            4 => self.levels::<4>(),
            5 => self.levels::<5>(),
            6 => self.levels::<6>(),
            7 => self.levels::<7>(),
            8 => self.levels::<8>(),
            _ => self.levels::<9>(),
        }
    }
}

impl Neighbours<'_, '_> {
    #[inline(always)]
    fn levels<const HALF: usize>(self) -> Result<bool> {
        let Self {
            simd,
            lattice,
            mode,
            x,
            length,
            area,
            places,
            rows: [coarser, finer],
            pace,
        } = self;
        let rotations = Rotations::<HALF>::new(simd, lattice);
        let mut level = Level {
            simd,
            mode,
            rotations,
            length,
            area,
            pace,
        };
        for (index, &place) in places[1..].iter().rev().enumerate() {
            let low = sized(coarser, place.1.next_multiple_of(SIDE));
            if index == 0 {
                level.split(&Lines { simd, x, length }, low, place)?;
            } else {
                level.split(&finer[..level.length], low, place)?;
            }
            std::mem::swap(coarser, finer);
            level.length = place.1;
        }
        let (start, count) = places[0];
        let mut sum = simd.splat_f64s(0.0);
        for (number, rows) in finer[..count.next_multiple_of(SIDE)]
            .as_chunks::<SIDE>()
            .0
            .iter()
            .enumerate()
        {
            let rows: [f64x4; SIDE] = cast(*rows);
            level.write(rows, number * SIDE, (start, count));
            for row in &rows[..SIDE.min(count - number * SIDE)] {
                sum = simd.mul_add_f64s(*row, simd.splat_f64s(0.0), sum);
            }
        }
        Ok(cast::<_, [f64; LANES]>(sum).iter().all(|sum| !sum.is_nan()))
    }
}

/// One level after the other.
struct Level<'a, 'b, const HALF: usize> {
    simd: V3,
    mode: Mode,
    rotations: Rotations<HALF>,
    /// Elements of each line.
    length: usize,
    area: &'a mut [f64],
    pace: &'a mut Pace<'b>,
}

impl<const HALF: usize> Level<'_, '_, HALF> {
    /// Splits lines into approximations `low` and details at their place.
    #[inline(always)]
    fn split(&mut self, lines: &(impl Source + ?Sized), low: &mut [[f64; LANES]], place: (usize, usize)) -> Result<()> {
        // What comes out of the lattice before it is full are no coefficients.
        let filling = (HALF - 1).div_ceil(SIDE);
        let skipped = filling * STEP + self.mode.front(HALF) - 2 * (HALF - 1);
        let total = filling + low.len() / SIDE;
        // Blocks of which all elements are in the line.
        let from = skipped.div_ceil(STEP);
        let to = ((self.length + skipped) / STEP).clamp(from, total);
        let mut waiting = [self.simd.splat_f64s(0.0); HALF];
        let edge = Edge {
            mode: self.mode,
            length: self.length,
            skipped,
            elements: skipped - self.mode.front(HALF)..skipped - self.mode.front(HALF) + 2 * (place.1 + HALF - 1),
        };
        for block in 0..from {
            self.block(cast(edge.rows(lines, block)), block, filling, &mut waiting, low, place);
        }
        for first in (from..to).step_by(BLOCKS) {
            let blocks = first..to.min(first + BLOCKS);
            self.pace.step(blocks.len() * SIDE * LANES * HALF)?;
            for block in blocks {
                self.block(
                    lines.eight(block * STEP - skipped),
                    block,
                    filling,
                    &mut waiting,
                    low,
                    place,
                );
            }
        }
        for block in to..total {
            self.block(cast(edge.rows(lines, block)), block, filling, &mut waiting, low, place);
        }
        Ok(())
    }

    /// Takes a block of elements into the lattice, and what comes out to its place.
    #[inline(always)]
    fn block(
        &mut self,
        rows: [f64x4; STEP],
        block: usize,
        filling: usize,
        waiting: &mut [f64x4; HALF],
        low: &mut [[f64; LANES]],
        place: (usize, usize),
    ) {
        let [lows, highs] = self.rotations.run(self.simd, &rows, waiting);
        if block >= filling {
            let number = block - filling;
            low.as_chunks_mut::<SIDE>().0[number] = cast(lows);
            self.write(highs, number * SIDE, place);
        }
    }

    /// Writes coefficients from `first` on of each line to their place, those of a whole block or the last ones.
    #[inline(always)]
    fn write(&mut self, rows: [f64x4; SIDE], first: usize, (start, count): (usize, usize)) {
        if first + SIDE > count {
            return write_last(self.area, &cast(rows), first, (start, count));
        }
        let lines = turn(self.simd, rows);
        for (lane, line) in lines.iter().enumerate() {
            if let Some(place) = self.area[start + lane * count + first..].first_chunk_mut::<SIDE>() {
                *place = cast(*line);
            }
        }
    }
}

/// Apart from the loops that it would take the registers of.
#[inline(never)]
fn write_last(area: &mut [f64], rows: &[[f64; LANES]; SIDE], first: usize, (start, count): (usize, usize)) {
    for (at, row) in (first..count).zip(rows) {
        for (lane, number) in row.iter().enumerate() {
            area[start + lane * count + at] = *number;
        }
    }
}

/// Where lines go on beyond their ends.
struct Edge {
    mode: Mode,
    length: usize,
    /// Elements before the line, counted from the first block on.
    skipped: usize,
    /// Those that coefficients are made of, counted likewise.
    elements: Range<usize>,
}

impl Edge {
    /// A block of elements, some of them before or behind the line; zero where no coefficient is made of them.
    #[inline(never)]
    fn rows(&self, lines: &(impl Source + ?Sized), block: usize) -> [[f64; LANES]; STEP] {
        let Self {
            mode, length, skipped, ..
        } = *self;
        let mut rows = [[0.0; LANES]; STEP];
        for (number, row) in (block * STEP..).zip(&mut rows) {
            let element = |at| lines.row(at);
            *row = match number.checked_sub(skipped) {
                _ if !self.elements.contains(&number) => continue,
                None => before(mode, element, length, skipped - number),
                Some(at) if at < length => element(at),
                Some(at) => behind(mode, element, length, at + 1 - length),
            };
        }
        rows
    }
}

/// The elements of neighbouring lines.
trait Source {
    /// The elements of one number.
    fn row(&self, at: usize) -> [f64; LANES];
    /// Those of eight numbers.
    fn eight(&self, at: usize) -> [f64x4; STEP];
}

impl Source for [[f64; LANES]] {
    #[inline(always)]
    fn row(&self, at: usize) -> [f64; LANES] {
        self[at]
    }

    #[inline(always)]
    fn eight(&self, at: usize) -> [f64x4; STEP] {
        match self[at..].first_chunk::<STEP>() {
            Some(rows) => cast(*rows),
            None => [f64x4(0.0, 0.0, 0.0, 0.0); STEP],
        }
    }
}

/// Samples in a tensor's bytes.
struct Lines<'a> {
    simd: V3,
    x: &'a [u8],
    length: usize,
}

impl Source for Lines<'_> {
    #[inline(always)]
    fn row(&self, at: usize) -> [f64; LANES] {
        let line = |lane: usize| f64::get(self.x, lane * self.length + at);
        [line(0), line(1), line(2), line(3)]
    }

    #[inline(always)]
    fn eight(&self, at: usize) -> [f64x4; STEP] {
        let line = |lane: usize| f64::get_eight(self.x, lane * self.length + at);
        let lines = [line(0), line(1), line(2), line(3)];
        let mut rows = [self.simd.splat_f64s(0.0); STEP];
        for (half, rows) in rows.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            *rows = turn(
                self.simd,
                [lines[0][half], lines[1][half], lines[2][half], lines[3][half]],
            );
        }
        rows
    }
}

/// A lattice in vectors.
struct Rotations<const HALF: usize> {
    first: [[f64x4; 2]; 2],
    /// All but the first.
    tangents: [f64x4; HALF],
}

impl<const HALF: usize> Rotations<HALF> {
    #[inline(always)]
    fn new(simd: V3, lattice: &Lattice) -> Self {
        let [[a, b], [c, d]] = lattice.first;
        let splat = |number| simd.splat_f64s(number);
        let mut tangents = [splat(0.0); HALF];
        for (vector, tangent) in tangents[1..].iter_mut().zip(lattice.tangents) {
            *vector = splat(tangent);
        }
        Self {
            first: [[splat(a), splat(b)], [splat(c), splat(d)]],
            tangents,
        }
    }

    /// Approximations and details that four pairs complete; `waiting` is what waits for the next pair.
    #[inline(always)]
    fn run(&self, simd: V3, rows: &[f64x4; STEP], waiting: &mut [f64x4; HALF]) -> [[f64x4; SIDE]; 2] {
        let [[a, b], [c, d]] = self.first;
        let mut made = [[simd.splat_f64s(0.0); SIDE]; 2];
        for pair in 0..SIDE {
            let (even, odd) = (rows[2 * pair], rows[2 * pair + 1]);
            let mut low = simd.mul_add_f64s(odd, b, simd.mul_f64s(even, a));
            let mut high = simd.mul_add_f64s(odd, d, simd.mul_f64s(even, c));
            for (waiting, tangent) in waiting[1..].iter_mut().zip(&self.tangents[1..]) {
                let (tangent, earlier) = (*tangent, std::mem::replace(waiting, low));
                low = simd.mul_add_f64s(tangent, high, earlier);
                high = simd.negate_mul_add_f64s(tangent, earlier, high);
            }
            (made[0][pair], made[1][pair]) = (low, high);
        }
        made
    }
}

impl Element for [f64; LANES] {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        let mut sums = self;
        for (sum, number) in sums.iter_mut().zip(other) {
            *sum += number;
        }
        sums
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    #[inline(always)]
    fn negated(self) -> Self {
        let [a, b, c, d] = self;
        [-a, -b, -c, -d]
    }

    #[inline(always)]
    fn times(self, count: usize) -> Self {
        let (factor, [a, b, c, d]) = (count as f64, self);
        [a * factor, b * factor, c * factor, d * factor]
    }
}
