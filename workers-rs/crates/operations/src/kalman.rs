//! Kalman filter and Rauch-Tung-Striebel smoother for linear models, by Särkkä, Bayesian Filtering and Smoothing
//! (2013), theorems 4.2 and 8.2; computed in double precision throughout.

mod model;
mod recursion;

use std::cell::RefCell;

use bytes::Bytes;
use npufleet_wire::frame::Tensor;
use npufleet_wire::{Dtype, Frame, Layout, Result};
use serde_json::{Map, Value};

use crate::common::{
    Lines, Pace, Params, Real, check_result, flag, invalid_parameter, invalid_shape, position, tensor,
};
use crate::{Context, Operation};
use model::{MATRICES, Model, Shape, check_shape};
use recursion::Steps;

/// The share of the work that is done when what does not depend on measurements is.
const PREPARED: f64 = 0.4;

/// The operation `kalman`.
pub struct Kalman;

impl Operation for Kalman {
    fn name(&self) -> &'static str {
        "kalman"
    }

    /// The number of lines along time.
    fn rows(&self, layout: &Layout) -> usize {
        let linear = MATRICES.iter().any(|name| layout.tensor(name).is_some());
        let lines = layout.tensor("z").and_then(|z| {
            let axis = time_axis(&layout.params, z.shape.len(), linear).ok()?;
            let components = if linear { *z.shape.last()? } else { 1 };
            Some(Lines::of(z, axis).count() / components.max(1))
        });
        lines.unwrap_or(1).max(1)
    }

    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let z = tensor(frame, "z")?;
        let request = Request::new(frame, &z, params)?;
        match z.info.dtype {
            Dtype::F32 => request.answer::<f32>(context),
            _ => request.answer::<f64>(context),
        }
    }
}

/// What a thread keeps from request to request.
#[derive(Default)]
struct Work {
    model: Model,
    steps: Steps,
}

/// What is asked of which measurements.
struct Request<'a> {
    frame: &'a Frame,
    z: &'a Tensor<'a>,
    params: &'a Params,
    shape: Option<Shape>,
    axis: usize,
    /// Lines of measurements: those of one time are `components` numbers behind each other.
    lines: Lines,
    smooth: bool,
}

impl<'a> Request<'a> {
    fn new(frame: &'a Frame, z: &'a Tensor<'a>, params: &'a Params) -> Result<Self> {
        let shape = Shape::of(frame, params)?;
        let dimensions = &z.info.shape;
        let rank = dimensions.len();
        if shape.is_some() && rank < 2 {
            let message = format!("tensor 'z' has {rank} dimensions; allowed: at least 2 with tensor 'F'");
            return Err(invalid_shape(message));
        }
        let axis = time_axis(params, rank, shape.is_some())?;
        let mut lines = Lines::of(z.info, axis);
        if lines.length == 0 {
            return Err(invalid_shape(format!(
                "tensor 'z' has 0 measurements along axis {axis}; allowed: at least 1"
            )));
        }
        if let Some(Shape { states, components }) = shape {
            if dimensions[rank - 1] != components {
                let message = format!(
                    "tensor 'z' has {} components in a measurement; allowed: {components} as in H",
                    dimensions[rank - 1]
                );
                return Err(invalid_shape(message));
            }
            lines.inner /= components;
            if let Some(mean) = frame.tensor("x0") {
                let mut each = dimensions.clone();
                each.remove(axis);
                each[rank - 2] = states;
                check_shape(&mean, &[states], &each)?;
            }
        }
        Ok(Self {
            frame,
            z,
            params,
            shape,
            axis,
            lines,
            smooth: flag(params, "smooth") == Some(true),
        })
    }

    /// The shapes of the means, the covariances and the likelihoods.
    fn shapes(&self) -> [Vec<usize>; 3] {
        let mut means = self.z.info.shape.clone();
        let mut lines = means.clone();
        lines.remove(self.axis);
        let mut covariances = vec![self.lines.length];
        if let Some(Shape { states, .. }) = self.shape {
            lines.pop();
            covariances.extend([states, states]);
            if let Some(last) = means.last_mut() {
                *last = states;
            }
        }
        [means, covariances, lines]
    }

    fn answer<S: Real>(&self, context: &Context<'_>) -> Result<Bytes> {
        thread_local! {
            static WORK: RefCell<Work> = RefCell::default();
        }
        let dtype = self.z.info.dtype;
        let [means, covariances, likelihoods] = self.shapes();
        check_result(dtype, &means)?;
        check_result(dtype, &covariances)?;
        let outputs = [
            ("x", dtype, means.as_slice()),
            ("P", dtype, &covariances),
            ("log_likelihood", dtype, &likelihoods),
        ];
        let (mut reply, places) = context.draft(&outputs)?;
        WORK.with_borrow_mut(|Work { model, steps }| {
            match &self.shape {
                Some(shape) => model.set_linear(self.frame, shape)?,
                None => model.set_walk(self.params),
            }
            let mut pace = Pace::new(context);
            steps.prepare(model, self.lines.length, self.smooth, &mut pace)?;
            pace.report(PREPARED);
            let count = self.lines.length * model.states * model.states;
            S::write(
                &mut reply[places[1].clone()],
                0,
                1,
                steps.covariances[..count].iter().copied(),
            );
            let count = self.lines.count();
            for line in 0..count {
                let likelihood = self.line::<S>(line, model, steps, &mut reply[places[0].clone()], &mut pace)?;
                S::put(&mut reply[places[2].clone()], line, likelihood);
                pace.report(PREPARED + (1.0 - PREPARED) * (line + 1) as f64 / count as f64);
            }
            steps.give_back();
            Ok(())
        })?;
        Ok(reply.into())
    }

    /// Follows one line, writes its means and gives its likelihood.
    fn line<S: Real>(
        &self,
        line: usize,
        model: &Model,
        steps: &mut Steps,
        x: &mut [u8],
        pace: &mut Pace<'_>,
    ) -> Result<f64> {
        let Lines { length, inner, .. } = self.lines;
        let (n, m) = (model.states, model.components);
        let start = line / inner * length * inner + line % inner;
        let measured = |step: usize, numbers: &mut [f64]| {
            S::read(self.z.data, (start + step * inner) * m, 1, numbers.iter_mut());
        };
        let own = [S::get(self.z.data, start * m)];
        let first = match model.mean.len() {
            0 => &own,
            all if all == n => model.mean.as_slice(),
            _ => &model.mean[line * n..][..n],
        };
        let (means, likelihood) = steps.follow(model, length, self.smooth, first, measured, pace)?;
        for (step, mean) in means.chunks_exact(n).enumerate() {
            S::write(x, (start + step * inner) * n, 1, mean.iter().copied());
        }
        Ok(likelihood)
    }
}

/// The axis of time, counted from the front.
fn time_axis(params: &Params, rank: usize, linear: bool) -> Result<usize> {
    if !linear {
        return position(params, "axis", rank);
    }
    if params.get("axis").is_none() {
        return rank
            .checked_sub(2)
            .ok_or_else(|| invalid_shape("tensor 'z' has no time"));
    }
    let axis = position(params, "axis", rank)?;
    if axis + 1 == rank {
        let message = format!("parameter 'axis' is {axis}; allowed: not the last axis, which holds the components");
        return Err(invalid_parameter(message));
    }
    Ok(axis)
}
