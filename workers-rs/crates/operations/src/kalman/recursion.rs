//! Forward and backward through time; the covariances once, since they do not depend on measurements, the means of
//! each line with them.

use std::f64::consts::TAU;

use npufleet_wire::{Error, Result};

use super::model::Model;
use crate::common::linear::{add, dot, even, factorize, multiply, multiply_transposed, solve_lower, solve_upper};
use crate::common::{Pace, give_back, invalid_parameter, sized};

/// What of each step does not depend on measurements, one step behind the other, and work space.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) covariances: Vec<f64>,
    /// The covariances before each measurement, kept for the smoother only.
    predicted: Vec<f64>,
    gains: Vec<f64>,
    /// The lower Cholesky factors of the innovations' covariances.
    factors: Vec<f64>,
    /// How much a later step's news changes this one, for the smoother only.
    returns: Vec<f64>,
    /// The logarithm of the likelihood's constant factor.
    constant: f64,
    means: Vec<f64>,
    scratch: Vec<f64>,
}

impl Steps {
    /// Computes the covariances of so many steps, smoothed ones when asked to.
    ///
    /// # Errors
    /// `invalid_parameter` when an innovation's covariance is singular, `cancelled` when the work is unwanted.
    pub(super) fn prepare(&mut self, model: &Model, steps: usize, smooth: bool, pace: &mut Pace<'_>) -> Result<()> {
        self.forward(model, steps, smooth, pace)?;
        if smooth {
            self.backward(model, steps, pace)?;
        }
        Ok(())
    }

    fn forward(&mut self, model: &Model, steps: usize, smooth: bool, pace: &mut Pace<'_>) -> Result<()> {
        let (n, m) = (model.states, model.components);
        let (square, work) = (n * n, n * n * (n + m) + m * m * m);
        let covariances = sized(&mut self.covariances, steps * square);
        let predicted = sized(&mut self.predicted, if smooth { steps * square } else { square });
        let gains = sized(&mut self.gains, steps * n * m);
        let factors = sized(&mut self.factors, steps * m * m);
        let (crossed, rest) = sized(&mut self.scratch, n * m + 2 * square).split_at_mut(n * m);
        let (rest, product) = rest.split_at_mut(square);
        let mut logarithms = 0.0;
        for step in 0..steps {
            pace.step(work)?;
            let kept = if smooth { step * square } else { 0 };
            let (known, current) = covariances.split_at_mut(step * square);
            let covariance = &mut current[..square];
            let (known_gains, gain) = gains.split_at_mut(step * n * m);
            let (known_factors, factor) = factors.split_at_mut(step * m * m);
            let (gain, factor) = (&mut gain[..n * m], &mut factor[..m * m]);
            let before = known.rchunks_exact(square).next().unwrap_or(&model.covariance);
            // Once a covariance repeats itself it is the same for ever.
            if step > 1 && before == &known[(step - 2) * square..][..square] {
                covariance.copy_from_slice(before);
                gain.copy_from_slice(&known_gains[(step - 1) * n * m..]);
                factor.copy_from_slice(&known_factors[(step - 1) * m * m..]);
                if smooth {
                    predicted.copy_within(kept - square..kept, kept);
                }
            } else {
                let predicted = &mut predicted[kept..][..square];
                multiply(&model.transition, before, n, product);
                multiply_transposed(product, &model.transition, n, predicted);
                add(predicted, &model.process_noise);
                multiply_transposed(predicted, &model.measurement, n, crossed);
                multiply(&model.measurement, crossed, n, factor);
                add(factor, &model.measurement_noise);
                if !factorize(factor, m) {
                    return Err(singular("innovation", step));
                }
                gain.copy_from_slice(crossed);
                for row in gain.chunks_exact_mut(m) {
                    solve_lower(factor, row);
                    solve_upper(factor, row);
                }
                // Joseph's form: it stays symmetric and positive whatever is rounded.
                multiply(gain, &model.measurement, m, rest);
                for number in &mut *rest {
                    *number = -*number;
                }
                for number in rest.iter_mut().step_by(n + 1) {
                    *number += 1.0;
                }
                multiply(rest, predicted, n, product);
                multiply_transposed(product, rest, n, covariance);
                multiply(gain, &model.measurement_noise, m, crossed);
                multiply_transposed(crossed, gain, m, product);
                add(covariance, product);
                even(covariance, n);
            }
            logarithms += factor.iter().step_by(m + 1).map(|pivot| pivot.ln()).sum::<f64>();
        }
        self.constant = -logarithms - 0.5 * TAU.ln() * (steps * m) as f64;
        Ok(())
    }

    fn backward(&mut self, model: &Model, steps: usize, pace: &mut Pace<'_>) -> Result<()> {
        let n = model.states;
        let square = n * n;
        let returns = sized(&mut self.returns, steps * square);
        let (factor, product) = sized(&mut self.scratch, 2 * square).split_at_mut(square);
        for step in (0..steps - 1).rev() {
            pace.step(3 * square * n)?;
            let ahead = &self.predicted[(step + 1) * square..][..square];
            factor.copy_from_slice(ahead);
            if !factorize(factor, n) {
                return Err(singular("predicted", step + 1));
            }
            let (covariance, later) = self.covariances[step * square..].split_at_mut(square);
            let back = &mut returns[step * square..][..square];
            multiply_transposed(covariance, &model.transition, n, back);
            for row in back.chunks_exact_mut(n) {
                solve_lower(factor, row);
                solve_upper(factor, row);
            }
            for (number, (later, ahead)) in factor.iter_mut().zip(later.iter().zip(ahead)) {
                *number = later - ahead;
            }
            multiply(back, factor, n, product);
            multiply_transposed(product, back, n, factor);
            add(covariance, factor);
            even(covariance, n);
        }
        Ok(())
    }

    /// Follows one line from its first mean; `measured` fills in a step's measurement. Gives the means, one step
    /// behind the other, and the logarithm of the likelihood.
    ///
    /// # Errors
    /// `cancelled` when the work is unwanted.
    pub(super) fn follow(
        &mut self,
        model: &Model,
        steps: usize,
        smooth: bool,
        first: &[f64],
        mut measured: impl FnMut(usize, &mut [f64]),
        pace: &mut Pace<'_>,
    ) -> Result<(&[f64], f64)> {
        let (n, m) = (model.states, model.components);
        let means = sized(&mut self.means, steps * n);
        let (predicted, innovation) = sized(&mut self.scratch, n + m).split_at_mut(n);
        let mut quadratic = 0.0;
        for step in 0..steps {
            pace.step(n * (n + 2 * m))?;
            let (known, mean) = means.split_at_mut(step * n);
            let before = known.rchunks_exact(n).next().unwrap_or(first);
            multiply_transposed(before, &model.transition, n, predicted);
            measured(step, innovation);
            for (number, row) in innovation.iter_mut().zip(model.measurement.chunks_exact(n)) {
                *number -= dot(row, predicted);
            }
            let gain = self.gains[step * n * m..].chunks_exact(m);
            for ((mean, predicted), gain) in mean[..n].iter_mut().zip(&*predicted).zip(gain) {
                *mean = predicted + dot(gain, innovation);
            }
            solve_lower(&self.factors[step * m * m..][..m * m], innovation);
            quadratic += dot(innovation, innovation);
        }
        for step in (0..if smooth { steps - 1 } else { 0 }).rev() {
            pace.step(2 * n * n)?;
            let (current, later) = means[step * n..].split_at_mut(n);
            multiply_transposed(current, &model.transition, n, predicted);
            for (number, later) in predicted.iter_mut().zip(later) {
                *number = *later - *number;
            }
            for (mean, back) in current.iter_mut().zip(self.returns[step * n * n..].chunks_exact(n)) {
                *mean += dot(back, predicted);
            }
        }
        Ok((means, self.constant - 0.5 * quadratic))
    }
}

impl Steps {
    /// Frees what has grown beyond what a thread should keep.
    pub(super) fn give_back(&mut self) {
        give_back(&mut self.covariances);
        give_back(&mut self.predicted);
        give_back(&mut self.gains);
        give_back(&mut self.factors);
        give_back(&mut self.returns);
        give_back(&mut self.means);
    }
}

fn singular(name: &str, step: usize) -> Error {
    invalid_parameter(format!(
        "the {name} covariance of step {step} is singular; allowed: positive definite ones"
    ))
}
