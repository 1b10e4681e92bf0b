//! Every line of a tensor through a filter, forward or forward and backward.

use std::marker::PhantomData;

use npufleet_wire::Result;

use super::designs::Work;
use super::kernel::{Filter, LANES, NEIGHBOURS, TILE};
use crate::common::{Lines, Pace, Real, sized};

/// Fewer lines than this are filtered one after the other, which is then faster than side by side.
const MIN_LANES: usize = 6;

/// The same where [`NEIGHBOURS`] are side by side.
const MIN_NEIGHBOURS: usize = 3;

/// Whole lines of together more samples than this are not held side by side: they would leave the cache.
const MAX_HELD: usize = 1 << 18;

/// A filter and the lines that it is applied to.
pub(super) struct Apply<'a> {
    pub(super) filter: &'a Filter,
    pub(super) lines: Lines,
    /// The samples' bytes.
    pub(super) x: &'a [u8],
    pub(super) work: &'a mut Work,
    pub(super) pace: Pace<'a>,
}

/// Lines that are filtered together: the first, and how many.
#[derive(Clone, Copy)]
struct Group {
    first: usize,
    count: usize,
}

impl Apply<'_> {
    /// Filters every line, starting from the states `zi` (zeros when there are none) and ending with the states `zf`;
    /// both are doubles of the shape `[sections, outer, 2, inner]`.
    pub(super) fn causal<S: Real>(&mut self, zi: Option<&[u8]>, y: &mut [u8], zf: &mut [u8]) -> Result<()> {
        let (least, most) = match lanes::<S>(self.lines) {
            NEIGHBOURS => (MIN_NEIGHBOURS, NEIGHBOURS),
            _ => (MIN_LANES, LANES),
        };
        for group in groups(self.lines.count(), least, most) {
            match group.count {
                1 => self.causal_group::<S, 1>(group, zi, y, zf)?,
                _ if most == NEIGHBOURS => self.causal_group::<S, NEIGHBOURS>(group, zi, y, zf)?,
                _ => self.causal_group::<S, LANES>(group, zi, y, zf)?,
            }
        }
        Ok(())
    }

    /// Filters every line forward and backward, extended by `edge` samples at either end as `scipy.signal.sosfiltfilt`
    /// does: mirrored about the end point.
    pub(super) fn zero_phase<S: Real>(&mut self, edge: usize, y: &mut [u8]) -> Result<()> {
        let held = (self.lines.length + 2 * edge).saturating_mul(LANES);
        let least = if held > MAX_HELD { usize::MAX } else { MIN_LANES };
        for group in groups(self.lines.count(), least, LANES) {
            match group.count {
                1 => self.zero_phase_group::<S, 1>(group, edge, y)?,
                _ => self.zero_phase_group::<S, LANES>(group, edge, y)?,
            }
        }
        Ok(())
    }

    fn causal_group<S: Real, const W: usize>(
        &mut self,
        group: Group,
        zi: Option<&[u8]>,
        y: &mut [u8],
        zf: &mut [u8],
    ) -> Result<()> {
        let Work { states, rows, turned } = &mut *self.work;
        let sections = self.filter.steady().len();
        let states = sized(states, sections * 2 * W);
        group.each_state::<W>(self.lines, sections, |place, lane| {
            states[lane] = zi.map_or(0.0, |zi| f64::get(zi, place));
        });
        let tile = sized(rows, TILE);
        for start in (0..self.lines.length).step_by(TILE / W) {
            let count = (TILE / W).min(self.lines.length - start);
            self.pace.step(count * W * sections)?;
            let tile = &mut tile[..count * W];
            let done = if W > 1 && self.lines.inner == 1 {
                let starts = group.starts(self.lines.length, 1).map(|line| line + start);
                neighbours::<S, W>(self.filter, states, tile, (self.x, y, starts, group.count))
            } else {
                0
            };
            let (rows, _) = tile[done * W..].as_chunks_mut::<W>();
            group.read::<S, W>(self.lines, self.x, start + done, rows);
            run(self.filter, states, rows, turned);
            group.write::<S, W>(self.lines, y, start + done, rows);
        }
        group.each_state::<W>(self.lines, sections, |place, lane| f64::put(zf, place, states[lane]));
        Ok(())
    }

    fn zero_phase_group<S: Real, const W: usize>(&mut self, group: Group, edge: usize, y: &mut [u8]) -> Result<()> {
        let Work { states, rows, turned } = &mut *self.work;
        let (steady, length) = (self.filter.steady(), self.lines.length);
        let states = sized(states, steady.len() * 2 * W);
        let (rows, _) = sized(rows, (length + 2 * edge) * W).as_chunks_mut::<W>();
        group.read::<S, W>(self.lines, self.x, 0, &mut rows[edge..edge + length]);
        extend(rows, edge);
        for _ in 0..2 {
            for (state, steady) in states.chunks_exact_mut(W).zip(steady.as_flattened()) {
                state.copy_from_slice(&rows[0].map(|sample| sample * steady));
            }
            for tile in rows.chunks_mut(TILE / W) {
                self.pace.step(tile.len() * W * steady.len())?;
                run(self.filter, states, tile, turned);
            }
            rows.reverse();
        }
        group.write::<S, W>(self.lines, y, 0, &rows[edge..edge + length]);
        Ok(())
    }
}

/// Filters rows of one line or of several.
fn run<const W: usize>(filter: &Filter, states: &mut [f64], rows: &mut [[f64; W]], turned: &mut Vec<[f64; LANES]>) {
    if W == 1 {
        filter.line(states, rows.as_flattened_mut(), sized(turned, TILE / LANES));
    } else {
        filter.lines(states.as_chunks_mut().0, rows);
    }
}

/// How many lines are best filtered side by side.
fn lanes<S: Real>(lines: Lines) -> usize {
    // Making doubles of single precision takes longer eight lanes at a time than they save.
    #[cfg(target_arch = "x86_64")]
    if lines.inner == 1 && size_of::<S>() == size_of::<f64>() {
        return super::neighbours::lanes();
    }
    LANES
}

/// Filters samples of `W` lines where they lie: of each from its start on as many as `rows` hold, or some less.
#[cfg(target_arch = "x86_64")]
fn neighbours<S: Real, const W: usize>(
    filter: &Filter,
    states: &mut [f64],
    rows: &mut [f64],
    (x, y, starts, wanted): (&[u8], &mut [u8], [usize; W], usize),
) -> usize {
    let mut lines = super::neighbours::Neighbours {
        x,
        y,
        starts,
        wanted,
        precision: PhantomData::<S>,
    };
    lines.filter(filter.sections(), states, rows)
}

/// None where the vectors for it are missing.
#[cfg(not(target_arch = "x86_64"))]
fn neighbours<S: Real, const W: usize>(
    _: &Filter,
    _: &mut [f64],
    _: &mut [f64],
    _: (&[u8], &mut [u8], [usize; W], usize),
) -> usize {
    0
}

/// Fills the `edge` rows at either end from the rows between them.
fn extend<const W: usize>(rows: &mut [[f64; W]], edge: usize) {
    let last = rows.len() - 1 - edge;
    let mirrored = |end: [f64; W], inner: [f64; W]| std::array::from_fn(|lane| 2.0 * end[lane] - inner[lane]);
    for step in 1..=edge {
        rows[edge - step] = mirrored(rows[edge], rows[edge + step]);
        rows[last + step] = mirrored(rows[last], rows[last - step]);
    }
}

/// Groups of up to `most` lines, of one line each where fewer than `least` are left.
fn groups(lines: usize, least: usize, most: usize) -> impl Iterator<Item = Group> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = lines - first;
        let count = if left >= least { left.min(most) } else { left.min(1) };
        let group = Group { first, count };
        first += count;
        (count > 0).then_some(group)
    })
}

impl Group {
    /// Where each line begins when lines are `length` long; lanes without a line of their own have that of the first.
    fn starts<const W: usize>(self, length: usize, inner: usize) -> [usize; W] {
        std::array::from_fn(|lane| {
            let line = self.first + if lane < self.count { lane } else { 0 };
            line / inner * length * inner + line % inner
        })
    }

    fn read<S: Real, const W: usize>(self, lines: Lines, x: &[u8], first: usize, rows: &mut [[f64; W]]) {
        for (lane, start) in self.starts::<W>(lines.length, lines.inner).into_iter().enumerate() {
            let numbers = rows.iter_mut().map(|row| &mut row[lane]);
            S::read(x, start + first * lines.inner, lines.inner, numbers);
        }
    }

    fn write<S: Real, const W: usize>(self, lines: Lines, y: &mut [u8], first: usize, rows: &[[f64; W]]) {
        let starts = self.starts::<W>(lines.length, lines.inner);
        for (lane, start) in starts.into_iter().enumerate().take(self.count) {
            let numbers = rows.iter().map(|row| row[lane]);
            S::write(y, start + first * lines.inner, lines.inner, numbers);
        }
    }

    /// Calls `body` for each number of the lines' states with its place in the tensor and here.
    fn each_state<const W: usize>(self, lines: Lines, sections: usize, mut body: impl FnMut(usize, usize)) {
        let Lines { outer, inner, .. } = lines;
        let starts = self.starts::<W>(2, inner);
        for number in 0..sections * 2 {
            for (lane, start) in starts.iter().enumerate().take(self.count) {
                let place = (number / 2 * outer * 2 + number % 2) * inner + start;
                body(place, number * W + lane);
            }
        }
    }
}
