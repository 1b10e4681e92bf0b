//! The transform of a real line of 2^10 to 2^16 samples in double precision, with vectors of eight.
//!
//! The bins k + 16m of N samples are, for each k, a transform of N/16 complex numbers, and those of 16 - k are their mirror
//! images. So a butterfly of sixteen samples makes one vector whose lanes are k = 0 to 7, and from there on eight
//! transforms run side by side without another exchange between lanes, each in three steps of 4, 8 or 16; their last
//! writes the bins and the mirror images where they belong. k = 8 is its own mirror image, and a transform half as long
//! (docs/adr/0022-own-real-transform.md).

mod passes;
mod vectors;

use std::array::from_fn;
use std::f64::consts::TAU;
use std::sync::Arc;

use npufleet_wire::frame::CACHE_LINE;
use num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::one_sided::RealLine;
use super::plans::LineWork;
use super::sample::fill;
use super::sized;
use vectors::{Vector, WIDTH};

type Number = Complex<f64>;

/// A prepared transform of lines of `16 * P * R * S` samples.
struct Sixteenths<const P: usize, const R: usize, const S: usize> {
    tables: Tables,
    /// The bins of residue 8: the factors of what is transformed, and its transform.
    twist: Vec<Number>,
    eighths: Arc<dyn Fft<f64>>,
}

/// The factors between the steps; those by residue are vectors, which begin with a cache line.
struct Tables {
    /// By part of a row.
    rows: Vec<Vector>,
    /// By row and part of a column.
    outer: Vec<Vector>,
    /// By row and column.
    inner: Vec<Vector>,
    /// By column and bin, the same for all residues.
    turns: Vec<[f64; 2]>,
}

/// The transform of a length; none where the processor lacks the vectors, or the length is another.
pub(super) fn sixteenths(planner: &mut FftPlanner<f64>, points: usize) -> Option<Box<dyn RealLine<f64>>> {
    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512dq") {
        return None;
    }
    Some(match points.checked_ilog2().filter(|_| points.is_power_of_two())? {
        10 => Box::new(Sixteenths::<4, 4, 4>::new(planner)),
        11 => Box::new(Sixteenths::<8, 4, 4>::new(planner)),
        12 => Box::new(Sixteenths::<8, 8, 4>::new(planner)),
        13 => Box::new(Sixteenths::<8, 8, 8>::new(planner)),
        14 => Box::new(Sixteenths::<8, 16, 8>::new(planner)),
        15 => Box::new(Sixteenths::<8, 16, 16>::new(planner)),
        16 => Box::new(Sixteenths::<16, 16, 16>::new(planner)),
        _ => return None,
    })
}

/// The `step`th of `points` equal parts of a turn back.
fn turn(step: usize, points: usize) -> Number {
    Complex::from_polar(1.0, -TAU * step as f64 / points as f64)
}

/// Turns of the residues 0 to 7.
fn turns(step: impl Fn(usize) -> usize, points: usize) -> Vector {
    let turns: [Number; WIDTH] = from_fn(|residue| turn(step(residue), points));
    Vector::from(&[turns.map(|turn| turn.re), turns.map(|turn| turn.im)])
}

impl<const P: usize, const R: usize, const S: usize> Sixteenths<P, R, S> {
    /// The numbers of one residue.
    const SIXTEENTH: usize = P * R * S;
    const POINTS: usize = 16 * Self::SIXTEENTH;
    /// The vectors that lie between the passes.
    const BETWEEN: usize = P * passes::stride(R * S);

    fn new(planner: &mut FftPlanner<f64>) -> Self {
        let by_row = |length: usize, stride: usize| {
            let factor = move |row, column| turns(|residue| stride * column * (residue + 16 * row), Self::POINTS);
            (0..P)
                .flat_map(|row| (0..length).map(move |column| factor(row, column)))
                .collect()
        };
        let twisted = Self::SIXTEENTH / 2;
        Self {
            tables: Tables {
                rows: (0..P).map(|part| turns(|residue| residue * part, 16 * P)).collect(),
                outer: by_row(R, S),
                inner: by_row(S, 1),
                turns: (0..S)
                    .flat_map(|column| (0..R).map(move |bin| turn(column * bin, R * S)))
                    .map(|turn: Number| [turn.re, turn.im])
                    .collect(),
            },
            twist: (0..twisted).map(|index| turn(index, 4 * twisted)).collect(),
            eighths: planner.plan_fft_forward(twisted),
        }
    }

    /// From what the first pass left of residue 8 to its bins up to the middle, in place.
    ///
    /// Of real numbers at half-way frequencies each second bin is a mirror image: the halves are the real and imaginary
    /// parts of what is transformed to the others.
    fn finish(&self, eighths: &mut [Number], twisted: &mut [Number], scratch: &mut [Number]) {
        let halves: &[f64] = bytemuck::cast_slice(eighths);
        let (front, back) = halves.split_at(twisted.len());
        for (((number, front), back), turn) in twisted.iter_mut().zip(front).zip(back).zip(&self.twist) {
            *number = Complex::new(*front, -*back) * turn;
        }
        self.eighths.process_with_scratch(twisted, scratch);
        let mirrored = twisted.iter().rev();
        for ((pair, bin), mirrored) in eighths.as_chunks_mut().0.iter_mut().zip(&*twisted).zip(mirrored) {
            *pair = [*bin, mirrored.conj()];
        }
    }
}

impl<const P: usize, const R: usize, const S: usize> RealLine<f64> for Sixteenths<P, R, S> {
    fn points(&self) -> usize {
        Self::POINTS
    }

    #[allow(unsafe_code, reason = "there is no such plan where the processor lacks the vectors")]
    fn line(&self, source: &[u8], spectrum: &mut [Number], work: &mut LineWork<f64>) {
        let samples: &[f64] = match bytemuck::try_cast_slice(source) {
            Ok(samples) if samples.len() == Self::POINTS => samples,
            _ => {
                let samples = sized(&mut work.samples, Self::POINTS);
                fill(samples, source);
                samples
            }
        };
        let (local, between, half) = (P * WIDTH * WIDTH, Self::BETWEEN * WIDTH, Self::SIXTEENTH / 2);
        let (bins, last) = spectrum.split_at_mut(Self::POINTS / 2);
        let scratch = self.eighths.get_inplace_scratch_len();
        let work = aligned(&mut work.scratch, local + between + 2 * half + scratch);
        let (local, work) = work.split_at_mut(local);
        let (between, work) = work.split_at_mut(between);
        let (eighths, work) = work.split_at_mut(half);
        let (twisted, scratch) = work.split_at_mut(half);
        let (between, local) = (bytemuck::cast_slice_mut(between), bytemuck::cast_slice_mut(local));
        let left = bytemuck::cast_slice_mut(eighths);
        let middle = unsafe {
            passes::first::<P, R, S>(&self.tables, samples, between, left, local);
            self.finish(eighths, twisted, scratch);
            passes::second::<P, R, S>(&self.tables, between, bytemuck::cast_slice_mut(bins), eighths)
        };
        last[0] = Complex::new(middle, 0.0);
        bins[0].im = 0.0;
    }
}

/// So many numbers of a buffer, from the beginning of a cache line on.
fn aligned(buffer: &mut Vec<Number>, length: usize) -> &mut [Number] {
    let spare = CACHE_LINE / size_of::<Number>();
    let buffer = sized(buffer, length + spare);
    let start = buffer.as_ptr().align_offset(CACHE_LINE).min(spare);
    &mut buffer[start..start + length]
}
