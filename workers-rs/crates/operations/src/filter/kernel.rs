//! The recursion of second-order sections: over several lines side by side, and over one line in segments side by side.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use pulp::{Arch, NullaryFnOnce};

use super::sections::{Section, steady_states};

/// What is filtered side by side: four vectors of four doubles hide the latency of the recursion.
pub(super) const LANES: usize = 16;

/// Lines that are filtered side by side where vectors hold as many doubles.
pub(super) const NEIGHBOURS: usize = 8;

/// Samples that pass through all sections while they are in the processor's cache.
pub(super) const TILE: usize = 2048;

/// The lengths of a tile's segments are sums of this many powers of two.
const POWERS: usize = (TILE / LANES).ilog2() as usize + 1;

/// Lines are turned into rows this many samples of this many lanes at once.
const SQUARE: usize = 4;

type Row = [f64; LANES];
/// The state behind a section is this matrix times the state before it, when there is no input.
type Matrix = [[f64; 2]; 2];

/// A design, ready to filter.
pub(super) struct Filter {
    sections: Vec<Section>,
    /// How each section's state goes on through 1, 2, 4, ... samples without input.
    powers: Vec<[Matrix; POWERS]>,
    steady: Vec<[f64; 2]>,
}

impl Filter {
    pub(super) fn new(sections: Vec<Section>) -> Self {
        let powers = |section: &Section| {
            let [a1, a2] = section.a;
            let mut power = [[-a1, 1.0], [-a2, 0.0]];
            std::array::from_fn(|_| {
                let squared = product(&power, &power);
                std::mem::replace(&mut power, squared)
            })
        };
        Self {
            powers: sections.iter().map(powers).collect(),
            steady: steady_states(&sections),
            sections,
        }
    }

    /// The state of each section after an endless input of ones.
    pub(super) fn steady(&self) -> &[[f64; 2]] {
        &self.steady
    }

    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Filters rows, each with a sample of every line; `states` has the shape `[sections, 2]`.
    pub(super) fn lines<const W: usize>(&self, states: &mut [[f64; W]], rows: &mut [[f64; W]]) {
        Arch::new().dispatch(LinesRun(self, states, rows));
    }

    /// Filters at most [`TILE`] samples of one line; `states` has the shape `[sections, 2]`.
    pub(super) fn line(&self, states: &mut [f64], samples: &mut [f64], rows: &mut [Row]) {
        Arch::new().dispatch(LineRun(self, states, samples, rows));
    }
}

/// The work of [`Filter::lines`] as what is compiled for the vectors that the processor turns out to have.
struct LinesRun<'a, const W: usize>(&'a Filter, &'a mut [[f64; W]], &'a mut [[f64; W]]);

impl<const W: usize> NullaryFnOnce for LinesRun<'_, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(filter, states, rows) = self;
        for (section, state) in filter.sections.iter().zip(states.as_chunks_mut().0) {
            recursion(section, state, rows);
        }
    }
}

/// The work of [`Filter::line`], likewise.
///
/// The recursion waits for itself at every sample, so the line is cut into segments that are filtered side by side as
/// if each began with the state zero. Then the segments' true states are known one after the other, and each one's
/// response without input is added: the filter is linear.
struct LineRun<'a>(&'a Filter, &'a mut [f64], &'a mut [f64], &'a mut [Row]);

impl NullaryFnOnce for LineRun<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(filter, states, samples, rows) = self;
        let length = samples.len() / LANES / SQUARE * SQUARE;
        let (segments, rest) = samples.split_at_mut(length * LANES);
        let (states, _) = states.as_chunks_mut::<2>();
        if length > 0 {
            let rows = &mut rows[..length];
            turn(segments, rows);
            for ((section, powers), state) in filter.sections.iter().zip(&filter.powers).zip(&mut *states) {
                let mut ends = [[0.0; LANES]; 2];
                recursion(section, &mut ends, rows);
                let mut starts = [[0.0; LANES]; 2];
                for lane in 0..LANES {
                    (starts[0][lane], starts[1][lane]) = (state[0], state[1]);
                    let [first, second] = after(powers, length, *state);
                    *state = [first + ends[0][lane], second + ends[1][lane]];
                }
                respond(section, starts, rows);
            }
            turn_back(rows, segments);
        }
        for (section, state) in filter.sections.iter().zip(states) {
            let mut last = state.map(|number| [number]);
            recursion(section, &mut last, rest.as_chunks_mut::<1>().0);
            *state = last.map(|[number]| number);
        }
    }
}

/// Filters rows by the definition (direct form II transposed, the form whose state `SciPy` has).
#[inline(always)]
fn recursion<const W: usize>(section: &Section, state: &mut [[f64; W]; 2], rows: &mut [[f64; W]]) {
    let [mut z0, mut z1] = *state;
    let Section {
        b: [b0, b1, b2],
        a: [a1, a2],
    } = *section;
    for row in rows {
        for lane in 0..W {
            let x = row[lane];
            let y = b0 * x + z0[lane];
            z0[lane] = b1 * x + z1[lane] - a1 * y;
            z1[lane] = b2 * x - a2 * y;
            row[lane] = y;
        }
    }
    *state = [z0, z1];
}

/// Adds what a section gives without input, beginning with a state.
#[inline(always)]
fn respond(section: &Section, state: [Row; 2], rows: &mut [Row]) {
    let [mut z0, mut z1] = state;
    let [a1, a2] = section.a;
    for row in rows {
        for lane in 0..LANES {
            let y = z0[lane];
            row[lane] += y;
            z0[lane] = z1[lane] - a1 * y;
            z1[lane] = -a2 * y;
        }
    }
}

/// The state after so many samples without input.
#[inline(always)]
fn after(powers: &[Matrix; POWERS], length: usize, state: [f64; 2]) -> [f64; 2] {
    let bits = powers.iter().enumerate().filter(|(bit, _)| length >> bit & 1 == 1);
    bits.fold(state, |[first, second], (_, matrix)| {
        matrix.map(|[from_first, from_second]| from_first * first + from_second * second)
    })
}

fn product(left: &Matrix, right: &Matrix) -> Matrix {
    left.map(|row| [0, 1].map(|column| row[0] * right[0][column] + row[1] * right[1][column]))
}

/// Lays the segments of a line side by side.
#[inline(always)]
fn turn(segments: &[f64], rows: &mut [Row]) {
    let length = rows.len();
    for lane in (0..LANES).step_by(SQUARE) {
        for (at, rows) in rows.as_chunks_mut::<SQUARE>().0.iter_mut().enumerate() {
            let square: [[f64; SQUARE]; SQUARE] = std::array::from_fn(|each| {
                std::array::from_fn(|sample| segments[(lane + each) * length + at * SQUARE + sample])
            });
            for (sample, row) in rows.iter_mut().enumerate() {
                for each in 0..SQUARE {
                    row[lane + each] = square[each][sample];
                }
            }
        }
    }
}

/// Lays the segments of a line one behind the other.
#[inline(always)]
fn turn_back(rows: &[Row], segments: &mut [f64]) {
    let length = rows.len();
    for lane in (0..LANES).step_by(SQUARE) {
        for (at, rows) in rows.as_chunks::<SQUARE>().0.iter().enumerate() {
            for each in 0..SQUARE {
                let samples = &mut segments[(lane + each) * length + at * SQUARE..][..SQUARE];
                for (sample, row) in samples.iter_mut().zip(rows) {
                    *sample = row[lane + each];
                }
            }
        }
    }
}
