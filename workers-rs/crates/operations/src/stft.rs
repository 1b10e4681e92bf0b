//! Short-time Fourier transform, with the numbers and names of `scipy.signal.stft`.

use bytes::Bytes;
use npufleet_wire::{Dtype, Frame, Layout, Result, TensorInfo};
use num_complex::Complex;
use serde_json::{Map, Value};

use crate::common::{Float, Lines, Sample, Segments, Sweep, Transform, Window, Work, check_result, fill, fill_place};
use crate::common::{
    flag, invalid_shape, line_count, number, position, sized, tabulate, tensor, text, unsupported_dtype,
};
use crate::{Context, Operation};

/// The operation `stft`.
pub struct Stft;

impl Operation for Stft {
    fn name(&self) -> &'static str {
        "stft"
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
            other => Err(unsupported_dtype("stft", other)),
        }
    }
}

/// How a line goes on beyond its ends.
#[derive(Clone, Copy)]
enum Boundary {
    None,
    Zeros,
    Constant,
    Even,
    Odd,
}

/// What is asked of a tensor.
struct Request {
    segments: Segments,
    boundary: Boundary,
    /// Samples before and behind a line.
    extension: usize,
    /// Samples of an extended line, padded to whole segments.
    samples: usize,
    sweep: Sweep,
    density: bool,
    fs: f64,
    shape: Vec<usize>,
}

impl Request {
    fn new(x: &TensorInfo, params: &Map<String, Value>) -> Result<Self> {
        let position = position(params, "axis", x.shape.len())?;
        let lines = Lines::of(x, position);
        if lines.length == 0 {
            let message = format!("tensor 'x' has 0 samples along axis {position}; allowed: at least 1");
            return Err(invalid_shape(message));
        }
        let complex = matches!(x.dtype, Dtype::C64 | Dtype::C128);
        let segments = Segments::of(params, lines.length, complex, Window::HANN, 2)?;
        let boundary = match text(params, "boundary") {
            Some("none") => Boundary::None,
            Some("constant") => Boundary::Constant,
            Some("even") => Boundary::Even,
            Some("odd") => Boundary::Odd,
            _ => Boundary::Zeros,
        };
        let extension = match boundary {
            Boundary::None => 0,
            _ => segments.length / 2,
        };
        let mut samples = lines.length + 2 * extension;
        if flag(params, "padded").unwrap_or(true) {
            samples = segments.length + (samples - segments.length).next_multiple_of(segments.step);
        }
        let mut shape = x.shape.clone();
        shape[position] = segments.bins();
        shape.push(segments.count(samples));
        let sweep = Sweep {
            lines,
            kept: lines.length,
            cells: segments.bins(),
            cell: segments.count(samples),
            work: lines.length,
        };
        Ok(Self {
            segments,
            boundary,
            extension,
            samples,
            sweep,
            density: text(params, "scaling") == Some("psd"),
            fs: number(params, "fs").unwrap_or(1.0),
            shape,
        })
    }

    fn answer<S: Sample>(&self, data: &[u8], context: &Context<'_>) -> Result<Bytes> {
        let dtype = S::Float::COMPLEX_DTYPE;
        check_result(dtype, &self.shape)?;
        let (bins, count) = (self.sweep.cells, self.sweep.cell);
        let tensors = [
            ("f", Dtype::F64, &[bins][..]),
            ("t", Dtype::F64, &[count][..]),
            ("Zxx", dtype, &self.shape),
        ];
        let (mut reply, places) = context.draft(&tensors)?;
        let [f, t, spectra] = [0, 1, 2].map(|index: usize| places[index].clone());
        fill_place(&mut reply[f], |frequencies| {
            self.segments.frequencies(self.fs, frequencies);
            Ok(())
        })?;
        let start = self.segments.length as f64 / 2.0;
        let start = if matches!(self.boundary, Boundary::None) {
            start
        } else {
            0.0
        };
        fill_place(&mut reply[t], |times| {
            self.segments.times(self.fs, start, times);
            Ok(())
        })?;
        fill_place(&mut reply[spectra], |spectra| {
            self.transform::<S>(data, spectra, context)
        })?;
        Ok(reply.into())
    }

    fn transform<S: Sample>(&self, data: &[u8], output: &mut [Complex<S::Float>], context: &Context<'_>) -> Result<()> {
        S::Float::with_plans(|plans| {
            let transform = Transform::<S>::new(plans, self.segments, context)?;
            let scale = S::Float::of(transform.scale(self.density, self.fs).sqrt());
            let Work {
                line,
                sweep,
                spectrum,
                signals: [signal, _],
                segment,
                ..
            } = &mut plans.work;
            let signal = sized(signal, self.samples * (size_of::<S>() / size_of::<S::Float>()));
            let signal: &mut [S] = bytemuck::cast_slice_mut(signal);
            self.sweep
                .run::<1, S, _, _>([data], output, sweep, context, |[source], table, pace| {
                    self.extend(signal, source);
                    let row = |index, spectrum: &mut [_]| {
                        pace.step(self.segments.points)?;
                        transform.segment(signal, index, spectrum, segment, line)
                    };
                    tabulate(self.sweep.cells, spectrum, table, row, |bin| bin * scale)
                })
        })
    }

    /// Copies a line between its extensions, and pads it with zeros.
    fn extend<S: Sample>(&self, signal: &mut [S], source: &[u8]) {
        let (extension, length) = (self.extension, self.sweep.kept);
        let (front, rest) = signal.split_at_mut(extension);
        fill(rest, source);
        let (line, behind) = rest.split_at_mut(length);
        let behind = &mut behind[..extension];
        let (first, last) = (line[0], line[length - 1]);
        match self.boundary {
            Boundary::None => {}
            Boundary::Zeros => front.fill(S::default()),
            Boundary::Constant => {
                front.fill(first);
                behind.fill(last);
            }
            Boundary::Even | Boundary::Odd => {
                let odd = matches!(self.boundary, Boundary::Odd);
                let mirrored = |end: S, sample: S| if odd { end + end - sample } else { sample };
                for (place, sample) in front.iter_mut().rev().zip(&line[1..]) {
                    *place = mirrored(first, *sample);
                }
                for (place, sample) in behind.iter_mut().zip(line[..length - 1].iter().rev()) {
                    *place = mirrored(last, *sample);
                }
            }
        }
    }
}
