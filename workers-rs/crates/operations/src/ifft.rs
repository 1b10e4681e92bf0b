//! Inverse discrete Fourier transform along one axis, with the numbers of `scipy.fft.ifft` and `scipy.fft.irfft`.

use bytes::Bytes;
use npufleet_wire::{Dtype, Error, ErrorKind, Frame, Layout, Result, TensorInfo};
use num_complex::Complex;
use serde_json::{Map, Value};

use crate::common::{Float, Lines, Norm, Sample, Sweep, check_result, fill_place, flag, invalid_shape};
use crate::common::{line_count, position, sized, tensor, unsupported_dtype, whole};
use crate::{Context, Operation};

/// The operation `ifft`.
pub struct Ifft;

impl Operation for Ifft {
    fn name(&self) -> &'static str {
        "ifft"
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
            other => Err(unsupported_dtype("ifft", other)),
        }
    }
}

/// What is asked of a tensor.
struct Request {
    sweep: Sweep,
    one_sided: bool,
    norm: Norm,
    shape: Vec<usize>,
}

impl Request {
    fn new(x: &TensorInfo, params: &Map<String, Value>) -> Result<Self> {
        let position = position(params, "axis", x.shape.len())?;
        let lines = Lines::of(x, position);
        let one_sided = flag(params, "input_onesided").unwrap_or(false);
        let least = if one_sided { 2 } else { 1 };
        let points = match whole(params, "n") {
            Some(points) => points,
            None if lines.length < least => {
                let message = format!(
                    "tensor 'x' has {} bins along axis {position}; allowed: at least {least}, or parameter 'n'",
                    lines.length
                );
                return Err(invalid_shape(message));
            }
            None if one_sided => 2 * (lines.length - 1),
            None => lines.length,
        };
        let bins = if one_sided { points / 2 + 1 } else { points };
        let mut shape = x.shape.clone();
        shape[position] = points;
        let sweep = Sweep {
            lines,
            kept: lines.length.min(bins),
            cells: points,
            cell: 1,
            work: points,
        };
        let norm = Norm::of(params).inverse();
        Ok(Self {
            sweep,
            one_sided,
            norm,
            shape,
        })
    }

    /// Transforms in place in the reply frame.
    fn answer<S: Sample>(&self, data: &[u8], context: &Context<'_>) -> Result<Bytes> {
        let dtype = if self.one_sided {
            S::Float::DTYPE
        } else {
            S::Float::COMPLEX_DTYPE
        };
        check_result(dtype, &self.shape)?;
        let (mut reply, places) = context.draft(&[("y", dtype, &self.shape)])?;
        let place = &mut reply[places[0].clone()];
        if self.one_sided {
            fill_place(place, |signal| self.real::<S>(data, signal, context))?;
        } else {
            fill_place(place, |signal| self.complex::<S>(data, signal, context))?;
        }
        Ok(reply.into())
    }

    fn complex<S: Sample>(&self, data: &[u8], signal: &mut [Complex<S::Float>], context: &Context<'_>) -> Result<()> {
        S::Float::with_plans(|plans| {
            let plan = plans.complex_inverse(self.sweep.cells);
            let work = &mut plans.work;
            let scratch = sized(&mut work.line.scratch, plan.get_inplace_scratch_len());
            let sweep = self.sweep;
            sweep.run::<1, S, _, _>([data], signal, &mut work.sweep, context, |[source], signal, _| {
                fill_complex::<S>(signal, source);
                plan.process_with_scratch(signal, scratch);
                Ok(())
            })
        })?;
        self.norm.scale::<S::Float, _>(signal, self.sweep.cells);
        Ok(())
    }

    fn real<S: Sample>(&self, data: &[u8], signal: &mut [S::Float], context: &Context<'_>) -> Result<()> {
        let points = self.sweep.cells;
        S::Float::with_plans(|plans| {
            let plan = plans.real_inverse(points);
            let work = &mut plans.work;
            let spectrum = sized(&mut work.spectrum, points / 2 + 1);
            let scratch = sized(&mut work.line.scratch, plan.get_scratch_len());
            let sweep = self.sweep;
            sweep.run::<1, S, _, _>([data], signal, &mut work.sweep, context, |[source], signal, _| {
                fill_complex::<S>(spectrum, source);
                // A real signal has no imaginary part there: whatever x says, SciPy does not look.
                spectrum[0].im = S::Float::default();
                if points.is_multiple_of(2) {
                    spectrum[points / 2].im = S::Float::default();
                }
                plan.process_with_scratch(spectrum, signal, scratch)
                    .map_err(|error| Error::new(ErrorKind::Internal, format!("ifft: {error}")))
            })
        })?;
        self.norm.scale::<S::Float, _>(signal, points);
        Ok(())
    }
}

/// Copies a line to the front of `spectrum` and pads it with zeros.
fn fill_complex<S: Sample>(spectrum: &mut [Complex<S::Float>], source: &[u8]) {
    let (front, rest) = spectrum.split_at_mut(source.len() / size_of::<S>());
    for (place, bytes) in front.iter_mut().zip(source.chunks_exact(size_of::<S>())) {
        *place = bytemuck::pod_read_unaligned::<S>(bytes).complex();
    }
    rest.fill(Complex::default());
}
