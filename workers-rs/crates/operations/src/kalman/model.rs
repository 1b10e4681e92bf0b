//! The model that a request gives: matrices, and what is known before the first measurement.

use npufleet_wire::frame::Tensor;
use npufleet_wire::{Frame, Result};

use crate::common::{Params, invalid_parameter, invalid_shape, number, read_all};

/// The matrices of a linear model, by name.
pub(super) const MATRICES: [&str; 4] = ["F", "H", "Q", "R"];

/// The most components of a state or a measurement; work grows with the cube of them.
const MAX_DIMENSIONS: usize = 64;

/// Part of a covariance's largest number by which it may differ from its transpose.
const SYMMETRIC: f64 = 1e-6;

/// `x[k] = F x[k-1] + noise of covariance Q`, `z[k] = H x[k] + noise of covariance R`.
#[derive(Default)]
pub(super) struct Model {
    /// Components of the state.
    pub(super) states: usize,
    /// Components of a measurement.
    pub(super) components: usize,
    pub(super) transition: Vec<f64>,
    pub(super) measurement: Vec<f64>,
    pub(super) process_noise: Vec<f64>,
    pub(super) measurement_noise: Vec<f64>,
    /// The state's covariance before the first step.
    pub(super) covariance: Vec<f64>,
    /// Its mean, of every line or of all; none where the first measurement stands for it.
    pub(super) mean: Vec<f64>,
}

impl Model {
    /// A random walk that is measured.
    pub(super) fn set_walk(&mut self, params: &Params) {
        (self.states, self.components) = (1, 1);
        let set = |numbers: &mut Vec<f64>, number: Option<f64>| {
            numbers.clear();
            numbers.extend(number);
        };
        set(&mut self.transition, Some(1.0));
        set(&mut self.measurement, Some(1.0));
        let variance = |name, default| Some(number(params, name).unwrap_or(default));
        set(&mut self.process_noise, variance("process_variance", 1e-5));
        set(&mut self.measurement_noise, variance("measurement_variance", 0.01));
        set(&mut self.covariance, variance("initial_variance", 1.0));
        set(&mut self.mean, number(params, "initial_mean"));
    }

    /// The model of a request's tensors, whose shapes are checked.
    ///
    /// # Errors
    /// `invalid_parameter` when a matrix is not finite or a covariance is none.
    pub(super) fn set_linear(&mut self, frame: &Frame, shape: &Shape) -> Result<()> {
        (self.states, self.components) = (shape.states, shape.components);
        let states = self.states;
        self.covariance.clear();
        self.covariance.resize(states * states, 0.0);
        self.covariance
            .iter_mut()
            .step_by(states + 1)
            .for_each(|variance| *variance = 1.0);
        self.mean.clear();
        self.mean.resize(states, 0.0);
        if let Some(mean) = frame.tensor("x0") {
            read_all(&mean, &mut self.mean);
        }
        for (name, numbers, size) in [
            ("F", &mut self.transition, None),
            ("H", &mut self.measurement, None),
            ("Q", &mut self.process_noise, Some(states)),
            ("R", &mut self.measurement_noise, Some(shape.components)),
            ("P0", &mut self.covariance, Some(states)),
        ] {
            if let Some(tensor) = frame.tensor(name) {
                read_all(&tensor, numbers);
                check_numbers(name, numbers, size)?;
            }
        }
        Ok(())
    }
}

/// The sizes of a linear model.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) states: usize,
    pub(super) components: usize,
}

impl Shape {
    /// The sizes of a request's model, none for a random walk.
    ///
    /// # Errors
    /// `invalid_shape`, `invalid_parameter` when something is missing, does not fit or belongs to the other model.
    pub(super) fn of(frame: &Frame, params: &Params) -> Result<Option<Self>> {
        let tensor = |name: &str| frame.tensor(name);
        if MATRICES.iter().all(|name| tensor(name).is_none()) {
            return match ["x0", "P0"].into_iter().find(|name| tensor(name).is_some()) {
                Some(name) => Err(invalid_shape(format!(
                    "tensor '{name}' is given without a model; allowed: with F, H, Q and R"
                ))),
                None => Ok(None),
            };
        }
        let rows = |name: &str| {
            let missing = || {
                invalid_shape(format!(
                    "tensor '{name}' is missing; allowed: F, H, Q and R together or none of them"
                ))
            };
            tensor(name).map(|tensor| tensor.info.shape[0]).ok_or_else(missing)
        };
        let [states, components, _, _] = [rows("F")?, rows("H")?, rows("Q")?, rows("R")?];
        for name in [
            "process_variance",
            "measurement_variance",
            "initial_mean",
            "initial_variance",
        ] {
            if let Some(value) = number(params, name) {
                let message = format!("parameter '{name}' is {value}; allowed: only without a model");
                return Err(invalid_parameter(message));
            }
        }
        for (name, count) in [("F", states), ("H", components)] {
            if !(1..=MAX_DIMENSIONS).contains(&count) {
                let message = format!("tensor '{name}' has {count} rows; allowed: 1 to {MAX_DIMENSIONS}");
                return Err(invalid_shape(message));
            }
        }
        for (name, allowed) in [
            ("F", [states, states]),
            ("H", [components, states]),
            ("Q", [states, states]),
            ("R", [components, components]),
            ("P0", [states, states]),
        ] {
            if let Some(tensor) = tensor(name) {
                check_shape(&tensor, &allowed, &allowed)?;
            }
        }
        Ok(Some(Self { states, components }))
    }
}

/// Refuses a tensor that has neither of two shapes.
pub(super) fn check_shape(tensor: &Tensor<'_>, allowed: &[usize], or: &[usize]) -> Result<()> {
    let shape = &tensor.info.shape;
    if shape == allowed || shape == or {
        return Ok(());
    }
    let name = &tensor.info.name;
    Err(invalid_shape(format!(
        "tensor '{name}' has shape {shape:?}; allowed: {allowed:?} or {or:?}"
    )))
}

fn check_numbers(name: &str, numbers: &[f64], covariance: Option<usize>) -> Result<()> {
    if !numbers.iter().all(|number| number.is_finite()) {
        return Err(invalid_parameter(format!(
            "tensor '{name}' has numbers that are not finite; allowed: finite numbers"
        )));
    }
    let Some(size) = covariance else { return Ok(()) };
    let largest = numbers
        .iter()
        .fold(0.0_f64, |largest, number| largest.max(number.abs()));
    let differs = |row: usize, column: usize| {
        (numbers[row * size + column] - numbers[column * size + row]).abs() > SYMMETRIC * largest
    };
    let uneven = (0..size).any(|row| (0..row).any(|column| differs(row, column)));
    if uneven || numbers.iter().step_by(size + 1).any(|variance| *variance < 0.0) {
        return Err(invalid_parameter(format!(
            "tensor '{name}' is no covariance; allowed: symmetric, no variance below 0"
        )));
    }
    Ok(())
}
