//! One line of samples through a filter that learns.
//!
//! Weights are kept latest sample last, so that they lie as the samples do.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use pulp::{Arch, NullaryFnOnce};

/// Sums that are kept side by side in a dot product: two vectors of four doubles.
const LANES: usize = 8;

/// How weights learn from an error.
#[derive(Clone, Copy)]
pub(super) enum Method {
    /// By the error times the input, times a step size.
    Lms { mu: f64 },
    /// The same, divided by the input's power and a little more.
    Nlms { mu: f64, eps: f64 },
    /// By least squares over the past, which is forgotten by a factor every sample.
    Rls { lam: f64 },
}

/// A part of a line: `samples` begin with those before the first that is wanted, one fewer than there are weights.
pub(super) struct Learn<'a> {
    pub(super) method: Method,
    pub(super) samples: &'a [f64],
    pub(super) desired: &'a [f64],
    pub(super) weights: &'a mut [f64],
    /// The inverse of the input's correlation, for RLS.
    pub(super) inverse: &'a mut [f64],
    /// The inverse times the input, for RLS.
    pub(super) turned: &'a mut [f64],
    pub(super) outputs: &'a mut [f64],
}

impl Learn<'_> {
    /// Fills in the outputs and brings weights and inverse up to date.
    pub(super) fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl NullaryFnOnce for Learn<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            method,
            samples,
            desired,
            weights,
            inverse,
            turned,
            outputs,
        } = self;
        let windows = samples.windows(weights.len());
        for ((taps, desired), output) in windows.zip(desired).zip(outputs) {
            *output = dot(weights, taps);
            let error = desired - *output;
            match method {
                Method::Lms { mu } => add_scaled(weights, mu * error, taps),
                Method::Nlms { mu, eps } => add_scaled(weights, mu * error / (eps + dot(taps, taps)), taps),
                Method::Rls { lam } => {
                    for (turned, row) in turned.iter_mut().zip(inverse.chunks_exact(taps.len())) {
                        *turned = dot(row, taps);
                    }
                    let scale = (lam + dot(taps, turned)).recip();
                    add_scaled(weights, error * scale, turned);
                    for (row, factor) in inverse.chunks_exact_mut(taps.len()).zip(&*turned) {
                        for (number, other) in row.iter_mut().zip(&*turned) {
                            // A product that is the same either way round keeps the inverse exactly symmetric.
                            *number = (*number - factor * other * scale) / lam;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add_scaled(numbers: &mut [f64], factor: f64, others: &[f64]) {
    for (number, other) in numbers.iter_mut().zip(others) {
        *number += factor * other;
    }
}

#[inline(always)]
fn dot(one: &[f64], other: &[f64]) -> f64 {
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (one, other) in ones.iter().zip(others) {
        for lane in 0..LANES {
            sums[lane] += one[lane] * other[lane];
        }
    }
    let rest: f64 = one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    sums.iter().sum::<f64>() + rest
}
