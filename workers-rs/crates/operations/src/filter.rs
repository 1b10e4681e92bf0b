//! Butterworth and Chebyshev I filters in second-order sections, with the numbers and names of
//! `scipy.signal.iirfilter`, `sosfilt` and `sosfiltfilt`; computed in double precision throughout.

mod apply;
mod design;
mod designs;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod neighbours;
mod sections;
#[cfg(target_arch = "x86_64")]
mod vectors;

use bytes::Bytes;
use npufleet_wire::frame::Tensor;
use npufleet_wire::{Dtype, Frame, Layout, Result};
use serde_json::{Map, Value};

use crate::common::{
    Lines, Pace, Params, Real, check_result, flag, invalid_parameter, invalid_shape, line_count, number, position,
    tensor, text, whole,
};
use crate::{Context, Operation};
use apply::Apply;
use design::{Band, Design, Family};

/// A cutoff may not be closer to 0, to the Nyquist frequency or to the other cutoff than this part of the sample rate:
/// closer ones leave too few digits for a filter in double precision.
const MARGIN: f64 = 1e-6;

/// The ripple of a Chebyshev filter for which none is given, in decibels.
const RIPPLE: f64 = 0.5;

/// The operation `filter`.
pub struct Filter;

impl Operation for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    /// The number of lines along the axis.
    fn rows(&self, layout: &Layout) -> usize {
        line_count(layout)
    }

    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let x = tensor(frame, "x")?;
        let request = Request::new(&x, frame.tensor("zi"), params)?;
        match x.info.dtype {
            Dtype::F32 => request.answer::<f32>(context),
            _ => request.answer::<f64>(context),
        }
    }
}

/// What is asked of which tensors.
struct Request<'a> {
    x: &'a Tensor<'a>,
    zi: Option<Tensor<'a>>,
    design: Design,
    lines: Lines,
    /// The shape of the states, none where they are not asked for.
    states: Option<Vec<usize>>,
}

impl<'a> Request<'a> {
    fn new(x: &'a Tensor<'a>, zi: Option<Tensor<'a>>, params: &Params) -> Result<Self> {
        let shape = &x.info.shape;
        let position = position(params, "axis", shape.len())?;
        let lines = Lines::of(x.info, position);
        if lines.length == 0 {
            return Err(invalid_shape(format!(
                "tensor 'x' is empty along axis {position}; allowed: at least 1 sample"
            )));
        }
        let design = design(params)?;
        let zero_phase = flag(params, "zero_phase") == Some(true);
        if zero_phase && zi.is_some() {
            return Err(invalid_parameter(
                "parameter 'zero_phase' is true; allowed: false with tensor 'zi'",
            ));
        }
        if zero_phase && lines.length <= edge(&design) {
            let message = format!(
                "tensor 'x' has {} samples along axis {position}; allowed: more than {} with parameter 'zero_phase'",
                lines.length,
                edge(&design)
            );
            return Err(invalid_shape(message));
        }
        let states = (!zero_phase).then(|| {
            let mut states = vec![design.sections()];
            states.extend_from_slice(shape);
            states[position + 1] = 2;
            states
        });
        check_result(x.info.dtype, shape)?;
        if let Some(states) = &states {
            check_result(Dtype::F64, states)?;
            if let Some(zi) = zi.as_ref().filter(|zi| zi.info.shape != *states) {
                let message = format!("tensor 'zi' has shape {:?}; allowed: {states:?}", zi.info.shape);
                return Err(invalid_shape(message));
            }
        }
        Ok(Self {
            x,
            zi,
            design,
            lines,
            states,
        })
    }

    /// Filters into the reply frame.
    fn answer<S: Real>(&self, context: &Context<'_>) -> Result<Bytes> {
        let y = ("y", self.x.info.dtype, self.x.info.shape.as_slice());
        let zf = self.states.as_ref().map(|shape| ("zf", Dtype::F64, shape.as_slice()));
        let (mut reply, places) = match zf {
            Some(zf) => context.draft(&[y, zf])?,
            None => context.draft(&[y])?,
        };
        designs::with_filter(&self.design, |filter, work| {
            let mut apply = Apply {
                filter,
                lines: self.lines,
                x: self.x.data,
                work,
                pace: Pace::new(context),
            };
            match places.as_slice() {
                [y, zf] => {
                    let places = reply.get_disjoint_mut([y.clone(), zf.clone()]);
                    let [y, zf] = places.map_err(|error| invalid_shape(error.to_string()))?;
                    apply.causal::<S>(self.zi.as_ref().map(|zi| zi.data), y, zf)
                }
                [y] => apply.zero_phase::<S>(edge(&self.design), &mut reply[y.clone()]),
                _ => Ok(()),
            }
        })?;
        Ok(reply.into())
    }
}

/// How many samples are added at either end for zero phase, as in `SciPy`: three times the filter's length.
const fn edge(design: &Design) -> usize {
    3 * (design.poles() + 1)
}

fn design(params: &Params) -> Result<Design> {
    let rate = number(params, "fs").unwrap_or(2.0);
    let band = text(params, "btype").unwrap_or("lowpass");
    let cutoffs = params.get("cutoff").and_then(Value::as_array).into_iter().flatten();
    let cutoffs: Vec<_> = cutoffs.filter_map(Value::as_f64).collect();
    let edges = if band.starts_with("band") { 2 } else { 1 };
    if cutoffs.len() != edges {
        let message = format!(
            "parameter 'cutoff' has {} numbers; allowed: {edges} for {band}",
            cutoffs.len()
        );
        return Err(invalid_parameter(message));
    }
    let (least, most) = (MARGIN * rate, (0.5 - MARGIN) * rate);
    if let Some(cutoff) = cutoffs.iter().find(|cutoff| !(least..=most).contains(cutoff)) {
        let message = format!("parameter 'cutoff' is {cutoff}; allowed: {least} to {most} at a sample rate of {rate}");
        return Err(invalid_parameter(message));
    }
    let relative = |cutoff: f64| cutoff / (rate / 2.0);
    let band = match (cutoffs.as_slice(), band) {
        ([cutoff], "highpass") => Band::High(relative(*cutoff)),
        ([cutoff, ..], "lowpass") => Band::Low(relative(*cutoff)),
        ([low, high], _) if high - low < least => {
            let message = format!("parameter 'cutoff' is {low}, {high}; allowed: ascending by at least {least}");
            return Err(invalid_parameter(message));
        }
        ([low, high], "bandpass") => Band::Pass(relative(*low), relative(*high)),
        (cutoffs, _) => Band::Stop(relative(cutoffs[0]), relative(cutoffs[1])),
    };
    let ripple = number(params, "rp");
    let family = match text(params, "ftype") {
        Some("cheby1") => Family::Chebyshev(ripple.unwrap_or(RIPPLE)),
        _ if ripple.is_some() => {
            return Err(invalid_parameter(
                "parameter 'rp' is given; allowed: for ftype cheby1 only",
            ));
        }
        _ => Family::Butterworth,
    };
    let order = whole(params, "order").unwrap_or(4);
    Ok(Design { family, band, order })
}
