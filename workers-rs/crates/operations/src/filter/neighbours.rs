//! The recursion over lines that are filtered where they lie: a few samples of each are turned into rows, and back, with
//! the vectors that most processors have.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use std::marker::PhantomData;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, Simd, f64x4};

use super::kernel::{LANES, Row};
use super::sections::Section;
use crate::common::{Real, SIDE, turn};

/// Samples of a line that are turned at once, whole cache lines of doubles: lines whose length is a power of two compete
/// for the same few places in the cache.
const STEP: usize = 2 * SIDE;

type Vectors = [f64x4; LANES / SIDE];
type Block = [Vectors; STEP];

/// Samples of neighbouring lines in a tensor's bytes, and where they go.
pub(super) struct Neighbours<'a, S> {
    simd: V3,
    x: &'a [u8],
    y: &'a mut [u8],
    /// Where the samples of each line begin.
    starts: [usize; LANES],
    /// How many lines are wanted; the others fill the lanes.
    wanted: usize,
    precision: PhantomData<S>,
}

impl<'a, S: Real> Neighbours<'a, S> {
    /// None where the processor lacks the vectors.
    pub(super) fn new(x: &'a [u8], y: &'a mut [u8], starts: [usize; LANES], wanted: usize) -> Option<Self> {
        Some(Self {
            simd: V3::try_new()?,
            x,
            y,
            starts,
            wanted,
            precision: PhantomData,
        })
    }

    /// Filters as many samples of each line as make whole steps in `rows`, and returns how many that were; `states` has
    /// the shape `[sections, 2]`.
    pub(super) fn filter(&mut self, sections: &[Section], states: &mut [Row], rows: &mut [Row]) -> usize {
        self.simd.vectorize(Run(self, sections, states, rows))
    }

    /// Reads samples as rows.
    #[inline(always)]
    fn read(&self, blocks: &mut [Block]) {
        for (vector, starts) in self.starts.as_chunks::<SIDE>().0.iter().enumerate() {
            for (number, block) in blocks.iter_mut().enumerate() {
                let line = |lane: usize| S::get_eight(self.x, starts[lane] + number * STEP);
                let lines = [line(0), line(1), line(2), line(3)];
                for half in 0..STEP / SIDE {
                    let square = [lines[0][half], lines[1][half], lines[2][half], lines[3][half]];
                    for (row, turned) in block[half * SIDE..][..SIDE].iter_mut().zip(turn(self.simd, square)) {
                        row[vector] = turned;
                    }
                }
            }
        }
    }

    /// Writes rows as samples.
    #[inline(always)]
    fn write(&mut self, blocks: &[Block]) {
        for (vector, starts) in self.starts.as_chunks::<SIDE>().0.iter().enumerate() {
            let wanted = self.wanted.saturating_sub(vector * SIDE).min(SIDE);
            for (number, block) in blocks.iter().enumerate() {
                let row = |at: usize| block[at][vector];
                let front = turn(self.simd, [row(0), row(1), row(2), row(3)]);
                let back = turn(self.simd, [row(4), row(5), row(6), row(7)]);
                for lane in 0..wanted {
                    S::put_eight(self.y, starts[lane] + number * STEP, [front[lane], back[lane]]);
                }
            }
        }
    }
}

struct Run<'a, 'b, S>(&'a mut Neighbours<'b, S>, &'a [Section], &'a mut [Row], &'a mut [Row]);

impl<S: Real> NullaryFnOnce for Run<'_, '_, S> {
    type Output = usize;

    #[inline(always)]
    fn call(self) -> usize {
        let Self(lines, sections, states, rows) = self;
        let states: &mut [[Vectors; 2]] = bytemuck::cast_slice_mut(states);
        let blocks: &mut [Block] = bytemuck::cast_slice_mut(rows.as_chunks_mut::<STEP>().0);
        lines.read(blocks);
        for (section, state) in sections.iter().zip(states) {
            recursion(lines.simd, section, state, blocks.as_flattened_mut());
        }
        lines.write(blocks);
        blocks.len() * STEP
    }
}

/// As the recursion of rows.
#[inline(always)]
fn recursion(simd: V3, section: &Section, state: &mut [Vectors; 2], rows: &mut [Vectors]) {
    let [mut z0, mut z1] = *state;
    let [b0, b1, b2] = [
        simd.splat_f64s(section.b[0]),
        simd.splat_f64s(section.b[1]),
        simd.splat_f64s(section.b[2]),
    ];
    let [a1, a2] = [simd.splat_f64s(section.a[0]), simd.splat_f64s(section.a[1])];
    for row in rows {
        for vector in 0..LANES / SIDE {
            let x = row[vector];
            let y = simd.mul_add_f64s(b0, x, z0[vector]);
            z0[vector] = simd.negate_mul_add_f64s(a1, y, simd.mul_add_f64s(b1, x, z1[vector]));
            z1[vector] = simd.negate_mul_add_f64s(a2, y, simd.mul_f64s(b2, x));
            row[vector] = y;
        }
    }
    *state = [z0, z1];
}
