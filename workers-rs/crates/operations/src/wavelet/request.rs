//! What is asked of which tensors: checks that no row can say, and what the result will be.

use std::sync::LazyLock;

use npufleet_wire::{Dtype, Error, ErrorKind, Layout, Result, TensorInfo, frame};
use serde_json::{Map, Value};

use super::extend::Mode;
use super::filters::Filters;
use super::line::Shrink;
use crate::common::{Lines, position};

/// The most levels: a tensor each, and one for the approximation.
pub(super) const MAX_LEVELS: usize = frame::MAX_TENSORS - 1;

/// Names by number, so that no request has to make them: cA0, cD0, cA1, ...
static NAMES: LazyLock<Vec<[String; 2]>> = LazyLock::new(|| {
    (0..=MAX_LEVELS)
        .map(|level| [format!("cA{level}"), format!("cD{level}")])
        .collect()
});

/// What to do with each line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    Decompose,
    Reconstruct,
    /// With the threshold, if it is given.
    Denoise(Option<f64>, Shrink),
}

/// A checked request.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) filters: &'static Filters,
    pub(super) mode: Mode,
    pub(super) dtype: Dtype,
    /// The axis, counted from the front.
    pub(super) position: usize,
    pub(super) lines: Lines,
    /// The samples, or the coefficients from the coarsest approximation to the finest details.
    pub(super) inputs: Vec<&'a TensorInfo>,
    /// Samples, then the coefficients of each level from the finest; `[..=level]` of them.
    counts: [usize; MAX_LEVELS + 1],
    pub(super) level: usize,
}

/// The tensors of a reply.
pub(super) struct Outputs {
    names: Vec<&'static str>,
    /// Their shapes, one behind the other.
    shapes: Vec<usize>,
    rank: usize,
    position: usize,
}

impl Outputs {
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }

    pub(super) fn shapes(&self) -> impl Iterator<Item = &[usize]> {
        self.shapes.chunks_exact(self.rank)
    }

    /// Their lengths along the axis.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.shapes().map(|shape| shape[self.position])
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(layout: &'a Layout, params: &Map<String, Value>) -> Result<Self> {
        let text = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
        let method = match text("method") {
            "reconstruct" => Method::Reconstruct,
            "denoise" => {
                let threshold = params.get("threshold").and_then(Value::as_f64);
                Method::Denoise(threshold, Shrink::parse(text("threshold_mode")))
            }
            _ => Method::Decompose,
        };
        let filters = Filters::find(text("wavelet")).ok_or_else(|| {
            let message = format!("wavelet '{}' is not done by this engine", text("wavelet"));
            Error::new(ErrorKind::Unsupported, message)
        })?;
        for (name, is_used) in [
            ("level", method != Method::Reconstruct),
            ("threshold", matches!(method, Method::Denoise(..))),
        ] {
            if let Some(value) = params.get(name).filter(|_| !is_used) {
                let message = format!("parameter '{name}' is {value}; allowed: none for this method");
                return Err(Error::new(ErrorKind::InvalidParameter, message));
            }
        }
        let inputs = inputs(layout, method)?;
        let first = inputs[0];
        let position = position(params, "axis", first.shape.len())?;
        let mut request = Self {
            method,
            filters,
            mode: Mode::parse(text("mode")),
            dtype: first.dtype,
            position,
            lines: Lines::of(first, position),
            inputs,
            counts: [0; MAX_LEVELS + 1],
            level: 0,
        };
        if request.lines.length == 0 {
            let name = &first.name;
            return Err(shape_error(format!(
                "tensor '{name}' is empty along axis {position}; allowed: at least 1"
            )));
        }
        if method == Method::Reconstruct {
            request.check_coefficients()?;
        } else {
            request.check_level(params.get("level").and_then(Value::as_u64))?;
        }
        Ok(request)
    }

    /// Where the coefficients of a line lie, one part after the other: the approximation (of a reconstruction as many
    /// as came), then details from the coarsest level.
    pub(super) fn places<'b>(&self, places: &'b mut [(usize, usize); MAX_LEVELS + 1]) -> &'b [(usize, usize)] {
        let first = if self.method == Method::Reconstruct {
            self.lines.length
        } else {
            self.counts[self.level]
        };
        let mut start = 0;
        let lengths = [first]
            .into_iter()
            .chain(self.counts[1..=self.level].iter().rev().copied());
        for (place, length) in places.iter_mut().zip(lengths) {
            *place = (start, length);
            start += length;
        }
        &places[..=self.level]
    }

    /// The tensors of the reply.
    ///
    /// # Errors
    /// `payload_too_large` when they are.
    pub(super) fn outputs(&self) -> Result<Outputs> {
        let like = self.inputs[0];
        let mut outputs = Outputs {
            names: Vec::with_capacity(self.level + 1),
            shapes: Vec::with_capacity((self.level + 1) * like.shape.len()),
            rank: like.shape.len(),
            position: self.position,
        };
        let mut add = |name, length| {
            outputs.names.push(name);
            outputs.shapes.extend_from_slice(&like.shape);
            let start = outputs.shapes.len() - outputs.rank;
            outputs.shapes[start + self.position] = length;
        };
        if self.method == Method::Decompose {
            add(&NAMES[self.level][0], self.counts[self.level]);
            for level in (1..=self.level).rev() {
                add(&NAMES[level][1], self.counts[level]);
            }
        } else {
            add("y", self.counts[0]);
        }
        let elements = outputs.lengths().sum::<usize>();
        let bytes = self.lines.count().checked_mul(elements * self.dtype.size());
        if bytes.is_none_or(|bytes| bytes > frame::MAX_RESULT_BYTES) {
            let (count, most) = (self.lines.count(), frame::MAX_RESULT_BYTES);
            let message = format!("{count} results of {elements} elements are too large; allowed: {most} bytes");
            return Err(Error::new(ErrorKind::PayloadTooLarge, message));
        }
        Ok(outputs)
    }

    fn check_level(&mut self, asked: Option<u64>) -> Result<()> {
        let (samples, taps) = (self.lines.length, self.filters.length());
        // The level at which a coefficient free of both ends is left, as `pywt.dwt_max_level`.
        let most = (samples / (taps - 1)).checked_ilog2().unwrap_or_default() as usize;
        let least = usize::from(self.method != Method::Decompose);
        if most < least {
            let needed = 2 * (taps - 1);
            return Err(shape_error(format!(
                "tensor 'x' has {samples} samples along axis {}; allowed: {needed} up",
                self.position
            )));
        }
        self.level = asked.map_or(most, |level| usize::try_from(level).unwrap_or(usize::MAX));
        if !(least..=most.min(MAX_LEVELS)).contains(&self.level) {
            let message = format!(
                "parameter 'level' is {}; allowed: {least} to {most} for {samples} samples and {taps} taps",
                self.level
            );
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        self.counts[0] = samples;
        for level in 1..=self.level {
            let finer = self.counts[level - 1];
            self.counts[level] = if self.mode == Mode::Periodization {
                finer.div_ceil(2)
            } else {
                (finer + taps - 1) / 2
            };
        }
        Ok(())
    }

    fn check_coefficients(&mut self) -> Result<()> {
        let (first, taps) = (self.inputs[0], self.filters.length());
        self.level = self.inputs.len() - 1;
        let mut count = self.lines.length;
        for (level, detail) in (1..=self.level).rev().zip(&self.inputs[1..]) {
            let name = &detail.name;
            if detail.dtype != first.dtype {
                let (found, wanted) = (detail.dtype.numpy(), first.dtype.numpy());
                return Err(shape_error(format!(
                    "tensor '{name}' has dtype {found}; allowed: {wanted}"
                )));
            }
            let alike = detail.shape.len() == first.shape.len()
                && detail
                    .shape
                    .iter()
                    .zip(&first.shape)
                    .enumerate()
                    .all(|(axis, (found, wanted))| {
                        // The samples of an odd number come back with one more, which the next level leaves out.
                        let fits = *found == count || (*found > 0 && found + 1 == count);
                        if axis == self.position { fits } else { found == wanted }
                    });
            if !alike {
                let (found, axis) = (&detail.shape, self.position);
                return Err(shape_error(format!(
                    "tensor '{name}' has shape {found:?}; allowed: that of '{}' with {count} or one less along axis {axis}",
                    first.name
                )));
            }
            let found = detail.shape[self.position];
            self.counts[level] = found;
            let lost = if self.mode == Mode::Periodization { 0 } else { taps - 2 };
            count = (2 * found).saturating_sub(lost);
            if count == 0 {
                return Err(shape_error(format!(
                    "tensor '{name}' has {found} coefficients along axis {}; allowed: {} up",
                    self.position,
                    taps / 2
                )));
            }
        }
        self.counts[0] = count;
        Ok(())
    }
}

/// The tensors of a method in the order of the work, none missing and none too many.
fn inputs(layout: &Layout, method: Method) -> Result<Vec<&TensorInfo>> {
    let find = |name: &str| {
        let missing = || shape_error(format!("tensor '{name}' is missing for wavelet"));
        layout.tensor(name).ok_or_else(missing)
    };
    let inputs = if method == Method::Reconstruct {
        let approximation = |name: &[String; 2]| layout.tensor(&name[0]).is_some();
        let mut levels = (0..=MAX_LEVELS).filter(|&level| approximation(&NAMES[level]));
        let (Some(level), None) = (levels.next(), levels.next()) else {
            return Err(shape_error(
                "tensors hold no approximation or several; allowed: exactly one cA<n>".to_owned(),
            ));
        };
        let mut inputs = vec![find(&NAMES[level][0])?];
        for level in (1..=level).rev() {
            inputs.push(find(&NAMES[level][1])?);
        }
        inputs
    } else {
        vec![find("x")?]
    };
    if let Some(other) = layout
        .tensors
        .iter()
        .find(|info| !inputs.iter().any(|input| input.name == info.name))
    {
        let name = &other.name;
        return Err(shape_error(format!(
            "tensor '{name}' is not used by this method of wavelet"
        )));
    }
    Ok(inputs)
}

fn shape_error(message: String) -> Error {
    Error::new(ErrorKind::InvalidShape, message)
}
