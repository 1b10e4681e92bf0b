//! Discrete Fourier transform along one axis, with the numbers and names of `scipy.fft.fft` and `scipy.fft.rfft`.

mod kernel;

use bytes::Bytes;
use npufleet_wire::{Dtype, Frame, Layout, Result, TensorInfo};
use num_complex::Complex;
use serde_json::{Map, Value};

use crate::common::{Float, Lines, Norm, Sample, check_result, fill_place, flag, invalid_parameter, invalid_shape};
use crate::common::{line_count, position, tensor, unsupported_dtype, whole};
use crate::{Context, Operation};
pub use kernel::{Spec, transform};

/// The operation `fft`.
pub struct Fft;

impl Operation for Fft {
    fn name(&self) -> &'static str {
        "fft"
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
            Dtype::C64 => request.answer::<Complex<f32>>(x.data, context),
            Dtype::C128 => request.answer::<Complex<f64>>(x.data, context),
            // SciPy computes half precision in single; hardware has no half-precision transform to offer here.
            other => Err(unsupported_dtype("fft", other)),
        }
    }
}

/// What is asked of a tensor.
struct Request {
    lines: Lines,
    spec: Spec,
    shape: Vec<usize>,
}

impl Request {
    fn new(x: &TensorInfo, params: &Map<String, Value>) -> Result<Self> {
        let position = position(params, "axis", x.shape.len())?;
        let lines = Lines::of(x, position);
        let points = match whole(params, "n") {
            Some(points) => points,
            None if lines.length > 0 => lines.length,
            None => {
                let message =
                    format!("tensor 'x' is empty along axis {position}; allowed: at least 1, or parameter 'n'");
                return Err(invalid_shape(message));
            }
        };
        let complex = matches!(x.dtype, Dtype::C64 | Dtype::C128);
        let one_sided = flag(params, "return_onesided").unwrap_or(!complex);
        if complex && one_sided {
            let dtype = x.dtype.numpy();
            let message = format!("parameter 'return_onesided' is true; allowed: false for {dtype} 'x'");
            return Err(invalid_parameter(message));
        }
        let spec = Spec {
            points,
            one_sided,
            norm: Norm::of(params),
        };
        let mut shape = x.shape.clone();
        shape[position] = spec.bins();
        Ok(Self { lines, spec, shape })
    }

    /// Transforms in place in the reply frame.
    fn answer<S: Sample>(&self, data: &[u8], context: &Context<'_>) -> Result<Bytes> {
        let dtype = S::Float::COMPLEX_DTYPE;
        check_result(dtype, &self.shape)?;
        let (mut reply, places) = context.draft(&[("y", dtype, &self.shape)])?;
        fill_place(&mut reply[places[0].clone()], |spectra| {
            transform::<S>(data, self.lines, &self.spec, spectra, context)
        })?;
        Ok(reply.into())
    }
}
