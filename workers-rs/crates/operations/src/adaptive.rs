//! Adaptive transversal filters (LMS, NLMS, RLS) by Haykin, Adaptive Filter Theory (5th edition, 2014), chapters 6, 7
//! and 10; computed in double precision throughout.

mod kernel;

use std::cell::RefCell;
use std::ops::Range;

use bytes::Bytes;
use npufleet_wire::frame::Tensor;
use npufleet_wire::{Dtype, Frame, Layout, Result};
use serde_json::{Map, Value};

use crate::common::{
    Lines, Pace, Params, Real, check_result, give_back, invalid_parameter, invalid_shape, line_count, number, position,
    read_all, sized, tensor, text, whole,
};
use crate::{Context, Operation};
use kernel::{Learn, Method};

/// The methods that take a parameter.
const METHODS: [(&str, &[&str]); 4] = [
    ("mu", &["lms", "nlms"]),
    ("eps", &["nlms"]),
    ("lam", &["rls"]),
    ("delta", &["rls"]),
];

/// The step size of NLMS at which it is no longer stable.
const STABLE: f64 = 2.0;

/// Samples that are learnt from before the context is asked.
const PART: usize = 1024;

/// The operation `adaptive`.
pub struct Adaptive;

impl Operation for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive"
    }

    /// The number of lines along the axis.
    fn rows(&self, layout: &Layout) -> usize {
        line_count(layout)
    }

    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let (x, d) = (tensor(frame, "x")?, tensor(frame, "d")?);
        let request = Request::new(&x, &d, frame.tensor("w0"), params)?;
        match x.info.dtype {
            Dtype::F32 => request.answer::<f32>(context),
            _ => request.answer::<f64>(context),
        }
    }
}

/// What a thread keeps from request to request.
#[derive(Default)]
struct Work {
    /// One line, behind as many zeros as there are weights but one.
    samples: Vec<f64>,
    desired: Vec<f64>,
    outputs: Vec<f64>,
    /// The weights of the request, and those of one line.
    given: Vec<f64>,
    weights: Vec<f64>,
    inverse: Vec<f64>,
    turned: Vec<f64>,
}

/// What is asked of which signals.
struct Request<'a> {
    x: &'a Tensor<'a>,
    d: &'a Tensor<'a>,
    w0: Option<Tensor<'a>>,
    lines: Lines,
    method: Method,
    order: usize,
    delta: f64,
    /// The shape of the weights.
    shape: Vec<usize>,
}

impl<'a> Request<'a> {
    fn new(x: &'a Tensor<'a>, d: &'a Tensor<'a>, w0: Option<Tensor<'a>>, params: &Params) -> Result<Self> {
        let mut shape = x.info.shape.clone();
        let position = position(params, "axis", shape.len())?;
        let method = method(params)?;
        if (d.info.dtype, &d.info.shape) != (x.info.dtype, &shape) {
            let (found, wanted) = (d.info.dtype.numpy(), x.info.dtype.numpy());
            let message = format!(
                "tensor 'd' is {found} {:?}; allowed: as x, {wanted} {shape:?}",
                d.info.shape
            );
            return Err(invalid_shape(message));
        }
        let lines = Lines::of(x.info, position);
        if lines.length == 0 {
            return Err(invalid_shape(format!(
                "tensor 'x' is empty along axis {position}; allowed: at least 1 sample"
            )));
        }
        check_result(x.info.dtype, &shape)?;
        let order = whole(params, "order").unwrap_or(8);
        shape[position] = order;
        check_result(x.info.dtype, &shape)?;
        if let Some(w0) = w0
            .as_ref()
            .filter(|w0| w0.info.shape != shape && w0.info.shape != [order])
        {
            let message = format!(
                "tensor 'w0' has shape {:?}; allowed: [{order}] or {shape:?}",
                w0.info.shape
            );
            return Err(invalid_shape(message));
        }
        Ok(Self {
            x,
            d,
            w0,
            lines,
            method,
            order,
            delta: number(params, "delta").unwrap_or(0.01),
            shape,
        })
    }

    fn answer<S: Real>(&self, context: &Context<'_>) -> Result<Bytes> {
        thread_local! {
            static WORK: RefCell<Work> = RefCell::default();
        }
        let (dtype, signal) = (self.x.info.dtype, self.x.info.shape.as_slice());
        let outputs = [("y", dtype, signal), ("e", dtype, signal), ("w", dtype, &self.shape)];
        let (mut reply, places) = context.draft(&outputs)?;
        WORK.with_borrow_mut(|work| {
            work.given.clear();
            if let Some(w0) = &self.w0 {
                read_all(w0, &mut work.given);
            }
            let mut pace = Pace::new(context);
            for line in 0..self.lines.count() {
                self.line::<S>(line, work, &mut reply, &places, &mut pace)?;
            }
            give_back(&mut work.samples);
            give_back(&mut work.desired);
            give_back(&mut work.outputs);
            give_back(&mut work.given);
            Ok(())
        })?;
        Ok(reply.into())
    }

    fn line<S: Real>(
        &self,
        line: usize,
        work: &mut Work,
        reply: &mut [u8],
        places: &[Range<usize>],
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        let (Lines { length, inner, .. }, order) = (self.lines, self.order);
        let starts = |length: usize| line / inner * length * inner + line % inner;
        let samples = sized(&mut work.samples, order - 1 + length);
        samples[..order - 1].fill(0.0);
        S::read(self.x.data, starts(length), inner, samples[order - 1..].iter_mut());
        let desired = sized(&mut work.desired, length);
        S::read(self.d.data, starts(length), inner, desired.iter_mut());
        let weights = sized(&mut work.weights, order);
        let (first, stride) = if work.given.len() == order {
            (0, 1)
        } else {
            (starts(order), inner)
        };
        for (tap, weight) in weights.iter_mut().rev().enumerate() {
            *weight = work.given.get(first + tap * stride).copied().unwrap_or_default();
        }
        let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        let all_finite = finite(samples) && finite(desired) && finite(weights);
        let recursive = matches!(self.method, Method::Rls { .. });
        let inverse = sized(&mut work.inverse, if recursive { order * order } else { 0 });
        inverse.fill(0.0);
        inverse
            .iter_mut()
            .step_by(order + 1)
            .for_each(|number| *number = self.delta.recip());
        let turned = sized(&mut work.turned, order);
        let outputs = sized(&mut work.outputs, length);
        let part = if recursive { (PART / order).max(1) } else { PART };
        for start in (0..length).step_by(part) {
            let count = part.min(length - start);
            pace.step(count * order * if recursive { order } else { 1 })?;
            pace.report((line as f64 + start as f64 / length as f64) / self.lines.count() as f64);
            let learn = Learn {
                method: self.method,
                samples: &samples[start..start + count + order - 1],
                desired: &desired[start..start + count],
                weights,
                inverse,
                turned,
                outputs: &mut outputs[start..start + count],
            };
            learn.run();
        }
        if all_finite && !finite(weights) {
            let name = if recursive { "delta" } else { "mu" };
            return Err(invalid_parameter(format!(
                "the weights of line {line} diverge; allowed: a parameter '{name}' at which they do not"
            )));
        }
        S::write(
            &mut reply[places[0].clone()],
            starts(length),
            inner,
            outputs.iter().copied(),
        );
        let errors = desired.iter().zip(&*outputs).map(|(desired, output)| desired - output);
        S::write(&mut reply[places[1].clone()], starts(length), inner, errors);
        S::write(
            &mut reply[places[2].clone()],
            starts(order),
            inner,
            weights.iter().rev().copied(),
        );
        Ok(())
    }
}

fn method(params: &Params) -> Result<Method> {
    let method = text(params, "method").unwrap_or("lms");
    for (name, methods) in METHODS {
        if let Some(value) = number(params, name).filter(|_| !methods.contains(&method)) {
            let message = format!(
                "parameter '{name}' is {value}; allowed: for method {} only",
                methods.join(" and ")
            );
            return Err(invalid_parameter(message));
        }
    }
    let mu = number(params, "mu");
    match method {
        "rls" => Ok(Method::Rls {
            lam: number(params, "lam").unwrap_or(0.99),
        }),
        "nlms" => match mu.unwrap_or(0.5) {
            mu if mu >= STABLE => Err(invalid_parameter(format!(
                "parameter 'mu' is {mu}; allowed: below {STABLE} for method nlms"
            ))),
            mu => Ok(Method::Nlms {
                mu,
                eps: number(params, "eps").unwrap_or(1e-6),
            }),
        },
        _ => Ok(Method::Lms { mu: mu.unwrap_or(0.01) }),
    }
}
