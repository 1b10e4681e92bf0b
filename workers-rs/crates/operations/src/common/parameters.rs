//! Reading a checked request: tensors by name, parameters by type.

use npufleet_wire::frame::Tensor;
use npufleet_wire::{Dtype, Error, ErrorKind, Frame, Layout, Result};
use serde_json::{Map, Value};

use super::{Lines, position};

/// A request's checked parameters.
pub(crate) type Params = Map<String, Value>;

/// The tensor of a name.
///
/// # Errors
/// `invalid_shape` when it is missing.
pub(crate) fn tensor<'a>(frame: &'a Frame, name: &str) -> Result<Tensor<'a>> {
    frame
        .tensor(name)
        .ok_or_else(|| invalid_shape(format!("tensor '{name}' is missing")))
}

/// The number of lines of `x` along `axis`, at least 1.
pub(crate) fn line_count(layout: &Layout) -> usize {
    let lines = layout.tensor("x").and_then(|x| {
        let position = position(&layout.params, "axis", x.shape.len()).ok()?;
        Some(Lines::of(x, position).count())
    });
    lines.unwrap_or(1).max(1)
}

pub(crate) fn text<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.get(name).and_then(Value::as_str)
}

pub(crate) fn whole(params: &Params, name: &str) -> Option<usize> {
    params
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|value| usize::try_from(value).ok())
}

pub(crate) fn number(params: &Params, name: &str) -> Option<f64> {
    params.get(name).and_then(Value::as_f64)
}

pub(crate) fn flag(params: &Params, name: &str) -> Option<bool> {
    params.get(name).and_then(Value::as_bool)
}

/// What an operation answers to a type of `x` that is the other engine's.
pub(crate) fn unsupported_dtype(operation: &str, dtype: Dtype) -> Error {
    let message = format!(
        "tensor 'x' has dtype {}, which this engine's {operation} does not take",
        dtype.numpy()
    );
    Error::new(ErrorKind::Unsupported, message)
}

pub(crate) fn invalid_parameter(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

pub(crate) fn invalid_shape(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidShape, message)
}
