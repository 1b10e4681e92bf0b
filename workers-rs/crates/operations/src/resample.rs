//! Another sampling rate, with the numbers and names of `scipy.signal.resample` and `scipy.signal.resample_poly`.

mod fourier;
mod polyphase;

use bytes::Bytes;
use npufleet_wire::{Dtype, Frame, Layout, Result, TensorInfo};
use serde_json::{Map, Value};

use crate::common::{Float, Lines, Params, Sample, Sweep, Window, check_result, fill_place, invalid_parameter};
use crate::common::{invalid_shape, line_count, position, tensor, text, unsupported_dtype, whole};
use crate::{Context, Operation};
use fourier::Fourier;
use polyphase::{Padding, Polyphase};

/// The operation `resample`.
pub struct Resample;

impl Operation for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    /// The number of lines along the axis.
    fn rows(&self, layout: &Layout) -> usize {
        line_count(layout)
    }

    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let x = tensor(frame, "x")?;
        let request = Request::new(x.info, params)?;
        match x.info.dtype {
            Dtype::F32 => request.answer::<f32>(x.data, context),
            Dtype::F64 => request.answer::<f64>(x.data, context),
            other => Err(unsupported_dtype("resample", other)),
        }
    }
}

enum Method {
    /// The samples as they are.
    Copy,
    Fourier(Fourier),
    Polyphase(Polyphase),
}

/// What is asked of a tensor.
struct Request {
    method: Method,
    sweep: Sweep,
    shape: Vec<usize>,
}

impl Request {
    fn new(x: &TensorInfo, params: &Params) -> Result<Self> {
        let position = position(params, "axis", x.shape.len())?;
        let lines = Lines::of(x, position);
        if lines.length == 0 {
            let message = format!("tensor 'x' has 0 samples along axis {position}; allowed: at least 1");
            return Err(invalid_shape(message));
        }
        let window = Window::of(params)?;
        let (up, down) = (whole(params, "up").unwrap_or(1), whole(params, "down").unwrap_or(1));
        let common = greatest_common_divisor(up, down);
        let (up, down) = (up / common, down / common);
        let mut samples = lines.length.saturating_mul(up).div_ceil(down);
        let method = if text(params, "method") == Some("polyphase") {
            refuse(params, "num", "fourier")?;
            let padding = Padding::of(text(params, "padtype"));
            if lines.length == 1 && padding.needs_two() {
                let message = format!(
                    "tensor 'x' has 1 sample along axis {position}; allowed: at least 2 with padtype line or reflect"
                );
                return Err(invalid_shape(message));
            }
            if up == down {
                Method::Copy
            } else {
                let window = window.unwrap_or(Window::KAISER_5);
                Method::Polyphase(Polyphase::new(up, down, window, padding, lines.length, samples))
            }
        } else {
            refuse(params, "padtype", "polyphase")?;
            samples = whole(params, "num").unwrap_or(samples);
            Method::Fourier(Fourier {
                window,
                samples: lines.length,
                num: samples,
            })
        };
        let mut shape = x.shape.clone();
        shape[position] = samples;
        let sweep = Sweep {
            lines,
            kept: lines.length,
            cells: samples,
            cell: 1,
            work: lines.length.max(samples),
        };
        Ok(Self { method, sweep, shape })
    }

    fn answer<T: Float + Sample<Float = T>>(&self, data: &[u8], context: &Context<'_>) -> Result<Bytes> {
        check_result(T::DTYPE, &self.shape)?;
        let (mut reply, places) = context.draft(&[("y", T::DTYPE, &self.shape)])?;
        let place = &mut reply[places[0].clone()];
        match &self.method {
            Method::Copy => place.copy_from_slice(data),
            Method::Fourier(fourier) => {
                fill_place(place, |output| fourier.run::<T>(self.sweep, data, output, context))?;
            }
            Method::Polyphase(polyphase) => {
                fill_place(place, |output| polyphase.run::<T>(self.sweep, data, output, context))?;
            }
        }
        Ok(reply.into())
    }
}

fn refuse(params: &Params, name: &str, method: &str) -> Result<()> {
    if params.contains_key(name) {
        let message = format!("parameter '{name}' is given; allowed: with method {method} only");
        return Err(invalid_parameter(message));
    }
    Ok(())
}

const fn greatest_common_divisor(mut one: usize, mut other: usize) -> usize {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
