//! Inputs and outputs of a model, in the words of frames.

use std::fmt;

use npufleet_wire::Dtype;

use crate::openvino::{Failure, RawPort};

/// Longest tensor name that a frame takes, in bytes.
const MAX_NAME: usize = npufleet_wire::frame::MAX_NAME_BYTES;

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The tensor's name in frames.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape; `None` is a dimension of any size.
    pub shape: Vec<Option<usize>>,
}

impl Port {
    /// A port of OpenVINO in our words; `side` is `input` or `output`, `index` its place among those.
    pub(crate) fn new(raw: &RawPort, side: &str, index: usize) -> Result<Self, Failure> {
        let name = match &raw.name {
            Some(name) if (1..=MAX_NAME).contains(&name.len()) && name != "__metadata__" => name.clone(),
            // Models may leave ports unnamed, or name them in ways that a frame cannot.
            _ => format!("{side}_{index}"),
        };
        let dtype = dtype_of(raw.element_type).ok_or_else(|| {
            Failure::new(format!(
                "{side} '{name}' has OpenVINO's element type number {}, which frames do not carry",
                raw.element_type
            ))
        })?;
        let shape = raw
            .shape
            .clone()
            .ok_or_else(|| Failure::new(format!("{side} '{name}' has no fixed number of dimensions")))?;
        Ok(Self { name, dtype, shape })
    }

    /// Whether it has a first dimension, and any number of rows fits.
    pub(crate) fn first_is_open(&self) -> bool {
        self.shape.first() == Some(&None)
    }

    /// The shape with `rows` in place of the first dimension, if every other one is fixed.
    pub(crate) fn with_rows(&self, rows: usize) -> Option<Vec<usize>> {
        let rest = self.shape.get(1..)?;
        std::iter::once(Some(rows)).chain(rest.iter().copied()).collect()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.name, self.dtype.numpy(), shape_text(&self.shape))
    }
}

/// A shape as people write it: `[?, 64]`.
pub(crate) fn shape_text(shape: &[Option<usize>]) -> String {
    let dims: Vec<_> = shape
        .iter()
        .map(|dim| dim.map_or_else(|| "?".to_owned(), |size| size.to_string()))
        .collect();
    format!("[{}]", dims.join(", "))
}

/// The frame's type for a number of `ov_element_type_e`; it has had these values since 2025.1.
fn dtype_of(element_type: u32) -> Option<Dtype> {
    use openvino_sys::ov_element_type_e as Element;
    [
        (Element::OV_BOOLEAN, Dtype::Bool),
        (Element::F16, Dtype::F16),
        (Element::F32, Dtype::F32),
        (Element::F64, Dtype::F64),
        (Element::I8, Dtype::I8),
        (Element::I16, Dtype::I16),
        (Element::I32, Dtype::I32),
        (Element::I64, Dtype::I64),
        (Element::U8, Dtype::U8),
        (Element::U16, Dtype::U16),
        (Element::U32, Dtype::U32),
        (Element::U64, Dtype::U64),
    ]
    .into_iter()
    .find_map(|(element, dtype)| (element as u32 == element_type).then_some(dtype))
}
