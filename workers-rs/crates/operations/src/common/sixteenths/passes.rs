//! The two passes over memory of a line's transform.

use std::arch::x86_64::{
    __m128d, __m512d, __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_insertf64x2, _mm512_permutex2var_pd,
    _mm512_setr_epi64, _mm512_setzero_pd, _mm512_sub_pd,
};
use std::array::from_fn;
use std::cell::Cell;

use bytemuck::cast;
use npufleet_wire::frame::CACHE_LINE;
use num_complex::Complex;

use super::Tables;
use super::vectors::{Stored, Vector, WIDTH, by, real_bins, times, transform};
use crate::common::transposed;

/// From a vector of a row to that of the next, in what lies between the passes: a vector more than a row has, or those of
/// a column would share few places of the first-level cache.
pub(super) const fn stride(columns: usize) -> usize {
    columns + 1
}

/// Lines with fewer columns are in the first-level cache, where a vector in two cache lines costs little.
const ALIGNED_COLUMNS: usize = 64;

/// From samples to `P` rows of `R * S` vectors whose lanes are the residues 0 to 7 of bins by 16; the residue 8 is left
/// to `eighths`.
///
/// Vectors of samples begin with a cache line, wherever the samples do: the last columns are taken together with those
/// before the first such vector.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn first<const P: usize, const R: usize, const S: usize>(
    tables: &Tables,
    samples: &[f64],
    between: &mut [Stored],
    eighths: &mut [f64],
    local: &mut [Stored],
) {
    let (columns, sixteenth) = (R * S, P * R * S);
    let (factors, local) = (&tables.rows[..P], &mut local[..P * WIDTH]);
    let begin = match samples.as_ptr().align_offset(CACHE_LINE) {
        offset if columns >= ALIGNED_COLUMNS => offset % WIDTH,
        _ => 0,
    };
    for column in (begin..columns).step_by(WIDTH) {
        let split = column + WIDTH > columns;
        for part in 0..P {
            let start = columns * part;
            if split {
                let around = |lane| start + (column + lane) % columns;
                let row = |row| cast(from_fn::<_, WIDTH, _>(|lane| samples[row * sixteenth + around(lane)]));
                let (re, im, eighth) = real_bins(from_fn(row));
                keep(local, part, [&re, &im]);
                for (lane, number) in cast::<_, [f64; WIDTH]>(eighth).into_iter().enumerate() {
                    eighths[around(lane)] = number;
                }
            } else {
                let at = start + column;
                for row in 0..16 {
                    prefetch(samples, row * sixteenth + at + WIDTH);
                }
                let (re, im, eighth) = real_bins(from_fn(|row| load(samples, row * sixteenth + at)));
                keep(local, part, [&re, &im]);
                eighths[at..at + WIDTH].copy_from_slice(&cast::<_, [f64; WIDTH]>(eighth));
            }
        }
        for lane in 0..WIDTH {
            let column = (column + lane) % columns;
            transform::<P>(
                |part| match part {
                    0 => Vector::from(&local[lane]),
                    _ => times(Vector::from(&local[part * WIDTH + lane]), factors[part]),
                },
                |row, bins| between[row * stride(columns) + column] = bins.into(),
            );
        }
    }
}

/// Neighbouring samples.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn load(samples: &[f64], at: usize) -> __m512d {
    cast::<[f64; WIDTH], _>(from_fn(|lane| samples[at..at + WIDTH][lane]))
}

/// Keeps the bins of a part, turned over: by column.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn keep(local: &mut [Stored], part: usize, [re, im]: [&[__m512d; 8]; 2]) {
    let (re, im) = (transposed(*re), transposed(*im));
    for lane in 0..WIDTH {
        local[part * WIDTH + lane] = Vector {
            re: re[lane],
            im: im[lane],
        }
        .into();
    }
}

/// From there to the bins; `eighths` are those of residue 8.
///
/// Gives the bin in the middle, which has no place among them.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn second<const P: usize, const R: usize, const S: usize>(
    tables: &Tables,
    between: &mut [Stored],
    bins: &mut [Stored],
    eighths: &[Complex<f64>],
) -> f64 {
    let (columns, orders) = (R * S, Orders::new());
    let mut middle = 0.0;
    for (row, line) in between.chunks_exact_mut(stride(columns)).enumerate() {
        let (outer, inner) = (&tables.outer[row * R..][..R], &tables.inner[row * S..][..S]);
        let cells = Cell::from_mut(&mut line[..columns]).as_slice_of_cells();
        for column in 0..S {
            let turns = &tables.turns[column * R..][..R];
            transform::<R>(
                |part| {
                    let vector = Vector::from(&cells[S * part + column].get());
                    match part {
                        0 => vector,
                        _ => times(vector, outer[part]),
                    }
                },
                |bin, vector| {
                    cells[bin * S + column].set(match bin {
                        0 => vector.into(),
                        _ => by(vector, turns[bin]).into(),
                    });
                },
            );
        }
        for (bin, line) in line[..columns].chunks_exact(S).enumerate() {
            transform::<S>(
                |column| match column {
                    0 => Vector::from(&line[0]),
                    _ => times(Vector::from(&line[column]), inner[column]),
                },
                |part, vector| {
                    let sixteen = row + P * (bin + R * part);
                    if part < S / 2 {
                        bins[2 * sixteen] = orders.near(vector);
                        return;
                    }
                    if sixteen == P * columns / 2 {
                        middle = cast::<__m512d, [f64; WIDTH]>(vector.re)[0];
                    }
                    let mirror = P * columns - 1 - sixteen;
                    bins[2 * mirror + 1] = orders.far(vector, eighths[mirror]);
                },
            );
        }
    }
    middle
}

/// How vectors become neighbouring complex numbers.
struct Orders {
    near: [__m512i; 2],
    far: [__m512i; 2],
}

impl Orders {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn new() -> Self {
        Self {
            near: [
                _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
                _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15),
            ],
            far: [
                _mm512_setr_epi64(0, 8, 7, 15, 6, 14, 5, 13),
                _mm512_setr_epi64(4, 12, 3, 11, 2, 10, 1, 9),
            ],
        }
    }

    /// The bins of residues 0 to 7.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn near(&self, Vector { re, im }: Vector) -> Stored {
        self.near.map(|order| cast(_mm512_permutex2var_pd(re, order, im)))
    }

    /// The mirror images of residues 7 to 1, after the bin of residue 8.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn far(&self, Vector { re, im }: Vector, eighth: Complex<f64>) -> Stored {
        let im = _mm512_sub_pd(_mm512_setzero_pd(), im);
        let eighth: __m128d = cast([eighth.re, eighth.im]);
        let front = _mm512_permutex2var_pd(re, self.far[0], im);
        [
            cast(_mm512_insertf64x2::<0>(front, eighth)),
            cast(_mm512_permutex2var_pd(re, self.far[1], im)),
        ]
    }
}

/// Has the end of a vector come that is read soon; not into the first-level cache, few of whose places are those of samples
/// that lie powers of two apart.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
#[allow(
    unsafe_code,
    unused_unsafe,
    reason = "a prefetch reads nothing, wherever it points; newer compilers know it"
)]
fn prefetch(samples: &[f64], at: usize) {
    let sample = samples.as_ptr().wrapping_add(at + WIDTH - 1);
    unsafe { _mm_prefetch::<_MM_HINT_T1>(sample.cast()) };
}
