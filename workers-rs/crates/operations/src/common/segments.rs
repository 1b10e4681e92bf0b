//! Lines cut into overlapping, windowed segments: what `stft` and `spectral` share.

use std::sync::Arc;

use npufleet_wire::Result;
use num_complex::Complex;

use super::{
    Float, LineWork, Pace, Params, Plans, Sample, Window, flag, invalid_parameter, mean, sized, text, weighted_sum,
    whole,
};
use crate::Context;

/// How many samples a segment has unless a request says it, or the line is shorter.
const USUAL_LENGTH: usize = 256;

/// So many segments are transformed before their bins are written, side by side.
const BLOCK_SEGMENTS: usize = 8;

/// What is taken from each segment before it is windowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detrend {
    None,
    Constant,
    Linear,
}

/// How a line is cut, and how each segment is transformed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments {
    pub window: Window,
    /// Samples of a segment.
    pub length: usize,
    /// From the start of one segment to that of the next.
    pub step: usize,
    /// The transform length: segments are padded with zeros to it.
    pub points: usize,
    pub one_sided: bool,
    pub detrend: Detrend,
}

impl Segments {
    /// What a request says of lines of so many samples; `overlap` is the usual overlap as a part of the segment.
    ///
    /// # Errors
    /// `invalid_parameter` for what contradicts the samples or another parameter.
    pub(crate) fn of(params: &Params, samples: usize, complex: bool, window: Window, overlap: usize) -> Result<Self> {
        let length = whole(params, "nperseg").unwrap_or(USUAL_LENGTH.min(samples));
        if length > samples {
            let message = format!("parameter 'nperseg' is {length}; allowed: 1 to {samples}, the samples of a line");
            return Err(invalid_parameter(message));
        }
        let overlap = whole(params, "noverlap").unwrap_or(length / overlap);
        if overlap >= length {
            let message = format!(
                "parameter 'noverlap' is {overlap}; allowed: 0 to {}, below nperseg",
                length - 1
            );
            return Err(invalid_parameter(message));
        }
        let points = whole(params, "nfft").unwrap_or(length);
        if points < length {
            let message = format!("parameter 'nfft' is {points}; allowed: at least {length}, as nperseg");
            return Err(invalid_parameter(message));
        }
        Self::new(params, complex, window, length, length - overlap, points)
    }

    /// Segments of these lengths; the rest as a request says.
    ///
    /// # Errors
    /// `invalid_parameter` for a one-sided spectrum of complex samples, or a parameter that shapes another window.
    pub(crate) fn new(
        params: &Params,
        complex: bool,
        window: Window,
        length: usize,
        step: usize,
        points: usize,
    ) -> Result<Self> {
        let one_sided = flag(params, "return_onesided").unwrap_or(!complex);
        if complex && one_sided {
            let message = "parameter 'return_onesided' is true; allowed: false, since x is complex";
            return Err(invalid_parameter(message));
        }
        let detrend = match text(params, "detrend") {
            Some("constant") => Detrend::Constant,
            Some("linear") => Detrend::Linear,
            _ => Detrend::None,
        };
        Ok(Self {
            window: Window::of(params)?.unwrap_or(window),
            length,
            step,
            points,
            one_sided,
            detrend,
        })
    }

    /// The length of a spectrum.
    pub(crate) const fn bins(&self) -> usize {
        if self.one_sided {
            self.points / 2 + 1
        } else {
            self.points
        }
    }

    /// How many whole segments so many samples have.
    pub(crate) const fn count(&self, samples: usize) -> usize {
        (samples - self.length) / self.step + 1
    }

    /// Writes the frequency of each bin, for samples at the rate `fs`.
    pub(crate) fn frequencies(&self, fs: f64, frequencies: &mut [f64]) {
        let positive = if self.one_sided {
            self.bins()
        } else {
            self.points.div_ceil(2)
        };
        let resolution = fs / self.points as f64;
        for (bin, frequency) in frequencies.iter_mut().enumerate() {
            let turns = bin as f64 - if bin < positive { 0.0 } else { self.points as f64 };
            *frequency = turns * resolution;
        }
    }

    /// Writes the time of each segment's middle, from `start` in samples.
    pub(crate) fn times(&self, fs: f64, start: f64, times: &mut [f64]) {
        for (segment, time) in times.iter_mut().enumerate() {
            *time = (start + (segment * self.step) as f64) / fs;
        }
    }
}

/// Everything that the transform of a segment needs.
pub(crate) struct Transform<S: Sample> {
    pub segments: Segments,
    plan: S::Plan,
    weights: Arc<[S::Float]>,
}

impl<S: Sample> Transform<S> {
    /// # Errors
    /// `cancelled` when the context stops it.
    pub(crate) fn new(plans: &mut Plans<S::Float>, segments: Segments, context: &Context<'_>) -> Result<Self> {
        let weights = plans.window(segments.window, segments.length, &mut Pace::new(context))?;
        let plan = S::plan(plans, segments.points);
        Ok(Self {
            segments,
            plan,
            weights,
        })
    }

    /// What squared magnitudes are multiplied with: of a `density` per hertz, or else of a `spectrum`.
    pub(crate) fn scale(&self, density: bool, fs: f64) -> f64 {
        let weights = self.weights.iter().map(|weight| weight.wide());
        if density {
            (fs * weights.map(|weight| weight * weight).sum::<f64>()).recip()
        } else {
            weights.sum::<f64>().powi(2).recip()
        }
    }

    /// Transforms the segment at a place of a signal, its trend taken off and weighted by the window.
    ///
    /// # Errors
    /// `internal` when the lengths do not fit.
    pub(crate) fn segment(
        &self,
        signal: &[S],
        index: usize,
        spectrum: &mut [Complex<S::Float>],
        buffer: &mut Vec<S::Float>,
        work: &mut LineWork<S::Float>,
    ) -> Result<()> {
        let Segments {
            length, step, detrend, ..
        } = self.segments;
        let source = &signal[index * step..][..length];
        let buffer = sized(buffer, length * (size_of::<S>() / size_of::<S::Float>()));
        let windowed: &mut [S] = bytemuck::cast_slice_mut(buffer);
        let weighted = windowed.iter_mut().zip(source).zip(self.weights.iter());
        match detrend {
            Detrend::None => weighted.for_each(|((place, sample), weight)| *place = *sample * *weight),
            Detrend::Constant => {
                let mean = mean(source);
                weighted.for_each(|((place, sample), weight)| *place = (*sample - mean) * *weight);
            }
            Detrend::Linear => {
                let centre = (length - 1) as f64 / 2.0;
                let position = |at: usize| S::Float::of((at as f64 - centre) / length as f64);
                let mean = mean(source);
                let count = length as f64;
                // The sum of the squared positions; one sample has no slope.
                let squares = (count * count - 1.0) / (12.0 * count);
                let slope = if length > 1 { squares.recip() } else { 0.0 };
                let slope = weighted_sum(source, &position) * S::Float::of(slope);
                weighted.enumerate().for_each(|(at, ((place, sample), weight))| {
                    *place = (*sample - mean - slope * position(at)) * *weight;
                });
            }
        }
        S::line(&self.plan, bytemuck::cast_slice(windowed), spectrum, work)
    }
}

/// Writes a table of `[bins, count]` values, a column for the spectrum that `row` gives of each segment.
///
/// # Errors
/// Those of `row`.
pub(crate) fn tabulate<T: Float, V>(
    bins: usize,
    buffer: &mut Vec<Complex<T>>,
    table: &mut [V],
    mut row: impl FnMut(usize, &mut [Complex<T>]) -> Result<()>,
    value: impl Fn(Complex<T>) -> V,
) -> Result<()> {
    let count = table.len() / bins;
    let spectra = sized(buffer, BLOCK_SEGMENTS.min(count) * bins);
    for first in (0..count).step_by(BLOCK_SEGMENTS) {
        let width = BLOCK_SEGMENTS.min(count - first);
        for (column, spectrum) in spectra.chunks_exact_mut(bins).take(width).enumerate() {
            row(first + column, spectrum)?;
        }
        for (bin, values) in table.chunks_exact_mut(count).enumerate() {
            for (column, place) in values[first..first + width].iter_mut().enumerate() {
                *place = value(spectra[column * bins + bin]);
            }
        }
    }
    Ok(())
}
