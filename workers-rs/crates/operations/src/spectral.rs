//! Power spectra, cross spectra and coherence, with the numbers and names of `scipy.signal`.

mod estimate;

use bytes::Bytes;
use npufleet_wire::{Dtype, Frame, Layout, Result, Tensor};
use num_complex::Complex;
use serde_json::{Map, Value};

use crate::common::{Float, Lines, Params, Sample, Segments, Sweep, Window, check_result, fill_place};
use crate::common::{
    invalid_parameter, invalid_shape, line_count, number, position, tensor, text, unsupported_dtype, whole,
};
use crate::{Context, Operation};

/// The operation `spectral`.
pub struct Spectral;

impl Operation for Spectral {
    fn name(&self) -> &'static str {
        "spectral"
    }

    /// The number of lines along the axis.
    fn rows(&self, layout: &Layout) -> usize {
        line_count(layout)
    }

    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let (x, y) = (tensor(frame, "x")?, frame.tensor("y"));
        let request = Request::new(x, y, params)?;
        match x.info.dtype {
            Dtype::F32 => request.answer::<f32>(context),
            Dtype::F64 => request.answer::<f64>(context),
            Dtype::C64 => request.answer::<Complex<f32>>(context),
            Dtype::C128 => request.answer::<Complex<f64>>(context),
            other => Err(unsupported_dtype("spectral", other)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Periodogram,
    Welch,
    Spectrogram,
    Csd,
    Coherence,
}

impl Method {
    fn of(params: &Params) -> Self {
        match text(params, "method") {
            Some("periodogram") => Self::Periodogram,
            Some("spectrogram") => Self::Spectrogram,
            Some("csd") => Self::Csd,
            Some("coherence") => Self::Coherence,
            _ => Self::Welch,
        }
    }

    /// Refuses what the method does not take, and csd and coherence without their second signal.
    fn check(self, x: &Tensor<'_>, y: Option<&Tensor<'_>>, params: &Params) -> Result<()> {
        let named = text(params, "method").unwrap_or("welch");
        for name in ["nperseg", "noverlap"] {
            if self == Self::Periodogram && params.contains_key(name) {
                let message = format!("parameter '{name}' is given; allowed: not with method {named}");
                return Err(invalid_parameter(message));
            }
        }
        if params.contains_key("average") && !matches!(self, Self::Welch | Self::Csd) {
            let message = format!("parameter 'average' is given with method {named}; allowed: with welch and csd");
            return Err(invalid_parameter(message));
        }
        match (y, matches!(self, Self::Csd | Self::Coherence)) {
            (None, true) => Err(invalid_shape(format!("tensor 'y' is missing for method {named}"))),
            (Some(_), false) => {
                let message = format!("tensor 'y' is given with method {named}; allowed: with csd and coherence");
                Err(invalid_shape(message))
            }
            (Some(y), true) if (y.info.dtype, &y.info.shape) != (x.info.dtype, &x.info.shape) => {
                let (shape, dtype) = (&x.info.shape, x.info.dtype.numpy());
                let message = format!("tensor 'y' is unlike x; allowed: {dtype} of shape {shape:?}");
                Err(invalid_shape(message))
            }
            _ => Ok(()),
        }
    }
}

/// What is asked of the tensors.
struct Request<'a> {
    x: &'a [u8],
    y: &'a [u8],
    method: Method,
    segments: Segments,
    sweep: Sweep,
    /// Segments of a line.
    count: usize,
    /// What a sum of powers, or their median, is divided by.
    average: f64,
    density: bool,
    median: bool,
    fs: f64,
    shape: Vec<usize>,
}

impl<'a> Request<'a> {
    fn new(x: Tensor<'a>, y: Option<Tensor<'a>>, params: &Params) -> Result<Self> {
        let position = position(params, "axis", x.info.shape.len())?;
        let lines = Lines::of(x.info, position);
        if lines.length == 0 {
            let message = format!("tensor 'x' has 0 samples along axis {position}; allowed: at least 1");
            return Err(invalid_shape(message));
        }
        let method = Method::of(params);
        method.check(&x, y.as_ref(), params)?;
        let complex = matches!(x.info.dtype, Dtype::C64 | Dtype::C128);
        let segments = match method {
            Method::Periodogram => {
                let points = whole(params, "nfft").unwrap_or(lines.length);
                let length = points.min(lines.length);
                Segments::new(params, complex, Window::BOXCAR, length, length, points)?
            }
            Method::Spectrogram => Segments::of(params, lines.length, complex, Window::QUARTER_TUKEY, 8)?,
            _ => Segments::of(params, lines.length, complex, Window::HANN, 2)?,
        };
        let kept = if method == Method::Periodogram {
            segments.length
        } else {
            lines.length
        };
        let count = segments.count(kept);
        let mut shape = x.info.shape.clone();
        shape[position] = segments.bins();
        if method == Method::Spectrogram {
            shape.push(count);
        }
        let median = text(params, "average") == Some("median");
        if median {
            // The median needs the spectra of all segments of a line at once.
            let dtype = if method == Method::Csd { Dtype::C128 } else { Dtype::F64 };
            check_result(dtype, &[segments.bins(), count])?;
        }
        let sweep = Sweep {
            lines,
            kept,
            cells: segments.bins(),
            cell: if method == Method::Spectrogram { count } else { 1 },
            work: kept,
        };
        Ok(Self {
            x: x.data,
            y: y.map_or(&[], |y| y.data),
            method,
            segments,
            sweep,
            count,
            average: match method {
                Method::Spectrogram => 1.0,
                _ if median => estimate::median_bias(count),
                _ => count as f64,
            },
            density: text(params, "scaling") != Some("spectrum"),
            median,
            fs: number(params, "fs").unwrap_or(1.0),
            shape,
        })
    }

    fn answer<S: Sample>(&self, context: &Context<'_>) -> Result<Bytes> {
        let dtype = if self.method == Method::Csd {
            S::Float::COMPLEX_DTYPE
        } else {
            S::Float::DTYPE
        };
        check_result(dtype, &self.shape)?;
        let tensors = [
            ("f", Dtype::F64, &[self.segments.bins()][..]),
            ("Pxx", dtype, &self.shape),
            ("t", Dtype::F64, &[self.count]),
        ];
        let present = if self.method == Method::Spectrogram { 3 } else { 2 };
        let (mut reply, places) = context.draft(&tensors[..present])?;
        fill_place(&mut reply[places[0].clone()], |frequencies| {
            self.segments.frequencies(self.fs, frequencies);
            Ok(())
        })?;
        if let Some(place) = places.get(2) {
            fill_place(&mut reply[place.clone()], |times| {
                self.segments.times(self.fs, self.segments.length as f64 / 2.0, times);
                Ok(())
            })?;
        }
        let place = &mut reply[places[1].clone()];
        match self.method {
            Method::Csd => fill_place(place, |output| self.cross::<S>(output, context))?,
            Method::Coherence => fill_place(place, |output| self.coherence::<S>(output, context))?,
            _ => fill_place(place, |output| self.power::<S>(output, context))?,
        }
        Ok(reply.into())
    }
}
