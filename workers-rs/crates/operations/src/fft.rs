//! Discrete Fourier transform along one axis, with the numbers and names of `scipy.fft.fft` and `scipy.fft.rfft`.

mod kernel;
mod plans;

use bytes::Bytes;
use npufleet_wire::{Dtype, Error, ErrorKind, Frame, Layout, Result, TensorInfo, frame};
use num_complex::Complex;
use serde_json::{Map, Value};

use crate::common::{Lines, position};
use crate::{Context, Operation};
pub use kernel::{Norm, Sample, Spec, transform};

/// The operation `fft`.
pub struct Fft;

impl Operation for Fft {
    fn name(&self) -> &'static str {
        "fft"
    }

    /// The number of lines along the axis.
    fn rows(&self, layout: &Layout) -> usize {
        let lines = layout.tensor("x").and_then(|x| {
            let position = position(&layout.params, "axis", x.shape.len()).ok()?;
            Some(Lines::of(x, position).count())
        });
        lines.unwrap_or(1).max(1)
    }

    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let x = frame
            .tensor("x")
            .ok_or_else(|| Error::new(ErrorKind::InvalidShape, "tensor 'x' is missing for fft"))?;
        let request = Request::new(x.info, params)?;
        match x.info.dtype {
            Dtype::F32 => request.answer::<f32>(x.data, context),
            Dtype::F64 => request.answer::<f64>(x.data, context),
            Dtype::C64 => request.answer::<Complex<f32>>(x.data, context),
            Dtype::C128 => request.answer::<Complex<f64>>(x.data, context),
            // SciPy computes half precision in single; hardware has no half-precision transform to offer here.
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "tensor 'x' has dtype {}, which this engine's fft does not take",
                    other.numpy()
                ),
            )),
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
        let rank = x.shape.len();
        let position = position(params, "axis", rank)?;
        let lines = Lines::of(x, position);
        let points = match params.get("n").and_then(Value::as_u64) {
            Some(points) => points as usize,
            None if lines.length > 0 => lines.length,
            None => {
                let message =
                    format!("tensor 'x' is empty along axis {position}; allowed: at least 1, or parameter 'n'");
                return Err(Error::new(ErrorKind::InvalidShape, message));
            }
        };
        let complex = matches!(x.dtype, Dtype::C64 | Dtype::C128);
        let one_sided = params
            .get("return_onesided")
            .and_then(Value::as_bool)
            .unwrap_or(!complex);
        if complex && one_sided {
            let message = format!(
                "parameter 'return_onesided' is true; allowed: false for {} 'x'",
                x.dtype.numpy()
            );
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        let norm = match params.get("norm").and_then(Value::as_str) {
            Some("ortho") => Norm::Ortho,
            Some("forward") => Norm::Forward,
            _ => Norm::Backward,
        };
        let double = matches!(x.dtype, Dtype::F64 | Dtype::C128);
        if double && rank == frame::MAX_DIMENSIONS {
            // Its complex128 spectrum would be stored with one dimension more.
            let message = format!(
                "tensor 'x' has {rank} dimensions; allowed: at most {} in double precision",
                rank - 1
            );
            return Err(Error::new(ErrorKind::InvalidShape, message));
        }
        let spec = Spec {
            points,
            one_sided,
            norm,
        };
        let mut shape = x.shape.clone();
        shape[position] = spec.bins();
        Ok(Self { lines, spec, shape })
    }

    /// Transforms in place in the reply frame.
    fn answer<S: Sample>(&self, data: &[u8], context: &Context<'_>) -> Result<Bytes> {
        let dtype = if size_of::<S::Float>() == 4 {
            Dtype::C64
        } else {
            Dtype::C128
        };
        let bytes = self
            .shape
            .iter()
            .try_fold(dtype.size(), |bytes, dimension| bytes.checked_mul(*dimension));
        if bytes.is_none_or(|bytes| bytes > frame::MAX_RESULT_BYTES) {
            let message = format!(
                "the spectrum {:?} of {} is too large; allowed: {} bytes",
                self.shape,
                dtype.numpy(),
                frame::MAX_RESULT_BYTES
            );
            return Err(Error::new(ErrorKind::PayloadTooLarge, message));
        }
        let (mut reply, places) = frame::allocate(&[("y", dtype, &self.shape)], &Map::new())?;
        let area = &mut reply[places[0].clone()];
        if let Ok(spectrum) = bytemuck::try_cast_slice_mut(area) {
            transform::<S>(data, self.lines, &self.spec, spectrum, context)?;
        } else {
            // Only an allocator that aligns to less than 8 bytes gets here.
            let mut spectrum = vec![Complex::default(); area.len() / dtype.size()];
            transform::<S>(data, self.lines, &self.spec, &mut spectrum, context)?;
            area.copy_from_slice(bytemuck::cast_slice(&spectrum));
        }
        Ok(reply.into())
    }
}
