//! The recursion over lines that are filtered where they lie: a few samples of each are turned into rows, and back.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use std::marker::PhantomData;
use std::slice;

use bytemuck::{Zeroable, cast_slice_mut};
use pulp::NullaryFnOnce;
use pulp::x86::V3;

use super::kernel::{LANES, NEIGHBOURS};
use super::sections::Section;
use super::vectors::{STEP, V4, Vectors};
use crate::common::{Real, SIDE};

/// How many lines are best filtered at once.
pub(super) fn lanes() -> usize {
    V4::try_new().map_or(LANES, |_| NEIGHBOURS)
}

/// Samples of neighbouring lines in a tensor's bytes, and where they go.
pub(super) struct Neighbours<'a, S, const W: usize> {
    pub(super) x: &'a [u8],
    pub(super) y: &'a mut [u8],
    /// Where the samples of each line begin.
    pub(super) starts: [usize; W],
    /// How many lines are wanted; the others fill the lanes.
    pub(super) wanted: usize,
    pub(super) precision: PhantomData<S>,
}

impl<S: Real, const W: usize> Neighbours<'_, S, W> {
    /// Filters as many samples of each line as make whole steps in `rows`, and returns how many that were: none where the
    /// processor lacks the vectors. `states` has the shape `[sections, 2, W]`.
    pub(super) fn filter(&mut self, sections: &[Section], states: &mut [f64], rows: &mut [f64]) -> usize {
        let filtered = match W {
            NEIGHBOURS => self.filter_with::<V4, NEIGHBOURS, 1>(sections, states, rows),
            _ => self.filter_with::<V3, SIDE, { LANES / SIDE }>(sections, states, rows),
        };
        filtered.unwrap_or(0)
    }

    /// The same with rows of `N` vectors.
    fn filter_with<T: Vectors<LINES>, const LINES: usize, const N: usize>(
        &mut self,
        sections: &[Section],
        states: &mut [f64],
        rows: &mut [f64],
    ) -> Option<usize> {
        let simd = T::try_new()?;
        let (rows, _) = rows.as_chunks_mut::<W>();
        let (steps, _) = rows.as_chunks_mut::<STEP>();
        Some(simd.vectorize(Run::<S, T, W, LINES, N> {
            simd,
            starts: *self.starts.as_chunks().0.first_chunk()?,
            lines: self,
            sections,
            states: cast_slice_mut(states),
            blocks: cast_slice_mut(steps.as_flattened_mut().as_flattened_mut()),
        }))
    }
}

type Row<V, const N: usize> = [V; N];
type Block<V, const N: usize> = [Row<V, N>; STEP];

/// The work of [`Neighbours::filter`] as what is compiled for certain vectors.
struct Run<'a, 'b, S, T: Vectors<LINES>, const W: usize, const LINES: usize, const N: usize> {
    simd: T,
    lines: &'a mut Neighbours<'b, S, W>,
    /// Where the samples of each line begin, by vector.
    starts: [[usize; LINES]; N],
    sections: &'a [Section],
    states: &'a mut [[Row<T::Vector, N>; 2]],
    blocks: &'a mut [Block<T::Vector, N>],
}

impl<S: Real, T: Vectors<LINES>, const W: usize, const LINES: usize, const N: usize> NullaryFnOnce
    for Run<'_, '_, S, T, W, LINES, N>
{
    type Output = usize;

    #[inline(always)]
    fn call(mut self) -> usize {
        let count = self.blocks.len();
        if T::MANY {
            for number in 0..count {
                let mut block = Zeroable::zeroed();
                self.filter(number, slice::from_mut(&mut block));
            }
        } else {
            let blocks = std::mem::take(&mut self.blocks);
            self.filter(0, blocks);
        }
        count * STEP
    }
}

impl<S: Real, T: Vectors<LINES>, const W: usize, const LINES: usize, const N: usize> Run<'_, '_, S, T, W, LINES, N> {
    /// Filters the blocks from a number on.
    #[inline(always)]
    fn filter(&mut self, number: usize, blocks: &mut [Block<T::Vector, N>]) {
        self.read(number, blocks);
        for (section, state) in self.sections.iter().zip(&mut *self.states) {
            recursion(self.simd, section, state, blocks.as_flattened_mut());
        }
        self.write(number, blocks);
    }

    /// Reads samples as rows.
    #[inline(always)]
    fn read(&self, first: usize, blocks: &mut [Block<T::Vector, N>]) {
        for vector in 0..N {
            for (number, block) in (first..).zip(&mut *blocks) {
                let mut lines = [Zeroable::zeroed(); LINES];
                for (line, start) in lines.iter_mut().zip(self.starts[vector]) {
                    *line = S::get_eight(self.lines.x, start + number * STEP);
                }
                for (row, turned) in block.iter_mut().zip(self.simd.turn(lines)) {
                    row[vector] = turned;
                }
            }
        }
    }

    /// Writes rows as samples.
    #[inline(always)]
    fn write(&mut self, first: usize, blocks: &[Block<T::Vector, N>]) {
        for vector in 0..N {
            let wanted = self.lines.wanted.saturating_sub(vector * LINES);
            for (number, block) in (first..).zip(blocks) {
                let mut rows = [Zeroable::zeroed(); STEP];
                for (turned, row) in rows.iter_mut().zip(block) {
                    *turned = row[vector];
                }
                let lines = self.simd.turn_back(rows).into_iter().zip(self.starts[vector]);
                let put = |(line, start)| S::put_eight(self.lines.y, start + number * STEP, line);
                if wanted < LINES {
                    lines.take(wanted).for_each(put);
                } else {
                    lines.for_each(put);
                }
            }
        }
    }
}

/// As the recursion of rows.
#[inline(always)]
fn recursion<T: Vectors<LINES>, const LINES: usize, const N: usize>(
    simd: T,
    section: &Section,
    state: &mut [Row<T::Vector, N>; 2],
    rows: &mut [Row<T::Vector, N>],
) {
    let [mut z0, mut z1] = *state;
    let [b0, b1, b2] = [
        simd.splat(section.b[0]),
        simd.splat(section.b[1]),
        simd.splat(section.b[2]),
    ];
    let [a1, a2] = [simd.splat(section.a[0]), simd.splat(section.a[1])];
    for row in rows {
        for vector in 0..N {
            let x = row[vector];
            let y = simd.mul_add(b0, x, z0[vector]);
            z0[vector] = simd.negate_mul_add(a1, y, simd.mul_add(b1, x, z1[vector]));
            z1[vector] = simd.negate_mul_add(a2, y, simd.mul(b2, x));
            row[vector] = y;
        }
    }
    *state = [z0, z1];
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTIONS: [Section; 2] = [
        Section {
            b: [0.2, 0.4, 0.2],
            a: [-0.6, 0.3],
        },
        Section {
            b: [1.0, -0.5, 0.1],
            a: [0.4, 0.25],
        },
    ];
    /// Samples of a line; the last few make no whole step.
    const LENGTH: usize = 5 * STEP + 3;

    /// The difference equation of [`Section`], sample by sample.
    fn expected(line: &[f64]) -> Vec<f64> {
        SECTIONS.iter().fold(line.to_vec(), |x, Section { b, a }| {
            let mut y: Vec<f64> = Vec::new();
            for n in 0..x.len() {
                let before = |of: &[f64], by: usize| n.checked_sub(by).map_or(0.0, |n| of[n]);
                let fed: f64 = (0..3).map(|by| b[by] * before(&x, by)).sum();
                y.push(fed - a[0] * before(&y, 1) - a[1] * before(&y, 2));
            }
            y
        })
    }

    /// All but the last of `W` lines are wanted.
    fn filters_as_the_equation_says<const W: usize>() {
        let x: Vec<f64> = (0..W * LENGTH).map(|index| (index as f64 * 0.7).sin()).collect();
        let mut y = vec![0.0; x.len()];
        let mut lines = Neighbours::<f64, W> {
            x: bytemuck::cast_slice(&x),
            y: cast_slice_mut(&mut y),
            starts: std::array::from_fn(|line| line * LENGTH),
            wanted: W - 1,
            precision: PhantomData,
        };
        let (mut states, mut rows) = (vec![0.0; SECTIONS.len() * 2 * W], vec![0.0; W * LENGTH]);
        let count = lines.filter(&SECTIONS, &mut states, &mut rows);
        let is_there = if W == NEIGHBOURS {
            V4::try_new().is_some()
        } else {
            V3::try_new().is_some()
        };
        assert_eq!(count, if is_there { 5 * STEP } else { 0 });
        for (number, (x, y)) in x.chunks(LENGTH).zip(y.chunks(LENGTH)).enumerate() {
            let filtered = if number < W - 1 { count } else { 0 };
            let is_near = |(y, expected): (&f64, &f64)| (y - expected).abs() < 1e-12;
            assert!(
                y[..filtered].iter().zip(&expected(x)).all(is_near),
                "line {number} of {W}"
            );
            assert!(y[filtered..].iter().all(|y| *y == 0.0), "line {number} of {W}");
        }
    }

    #[test]
    fn lines_side_by_side_are_filtered_whichever_the_vectors() {
        filters_as_the_equation_says::<NEIGHBOURS>();
        filters_as_the_equation_says::<LANES>();
    }
}
