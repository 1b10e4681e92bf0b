//! Tensors and parameters as bytes: a safetensors file in memory.
//!
//! ```text
//! u64 little-endian: N | N bytes of JSON, padded with spaces so that 8 + N is a multiple of 8 | tensor bytes
//! ```
//! The tensors tile the bytes after the header exactly. `__metadata__.params` holds the parameters as the text of a
//! JSON object; `__metadata__.complex` the names of `F64` tensors that are complex128, as the text of a JSON array.
//!
//! - `parse` reads a header, with parameters by `json`;
//! - `write` makes frames, `draft` those that are computed where they will be read, `kept` has memory for them;
//! - `cache` remembers what was read from repeated headers.

mod cache;
mod draft;
mod json;
mod kept;
mod parse;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{Dtype, Error, ErrorKind, Result};
pub use cache::{CACHE_CAPACITY, HeaderCache, LayoutCache};
pub use draft::{Draft, Heap, Place, Room};
pub use write::{Output, Spec, draft, encode};

/// The longest header, in bytes, without the eight that state its length.
pub const MAX_HEADER_BYTES: usize = 65536;
/// The most tensors in a frame.
pub const MAX_TENSORS: usize = 64;
/// The most dimensions of a tensor as it is stored: complex128 counts with its last dimension of 2.
pub const MAX_DIMENSIONS: usize = 8;
/// Tensor bytes start at a multiple of it.
pub const ALIGNMENT: usize = 8;
/// The largest result that a request may ask for, in bytes: a few bytes of parameters must not fill the memory.
pub const MAX_RESULT_BYTES: usize = 1 << 30;
/// The longest tensor name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 128;

/// The greatest size of a tensor: what an offset is in every language that reads frames.
const MAX_SIZE: usize = i64::MAX as usize;
/// The greatest length of all tensors, which leaves room for the header in front.
const MAX_DATA: usize = MAX_SIZE - PREFIX - MAX_HEADER_BYTES;
/// The bytes that memory is read in.
pub const CACHE_LINE: usize = 64;
const PREFIX: usize = size_of::<u64>();
const METADATA: &str = "__metadata__";
const PARAMS: &str = "params";
const COMPLEX: &str = "complex";

/// A tensor's place in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique in the frame.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its dimensions, row-major; for complex128 without the trailing 2 of its storage.
    pub shape: Vec<usize>,
    /// Where its bytes begin, counted from the frame's first byte.
    pub start: usize,
    /// Where its bytes end.
    pub end: usize,
}

impl TensorInfo {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        (self.end - self.start) / self.dtype.size()
    }
}

/// What a frame's header says.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The tensors, in the header's order.
    pub tensors: Vec<TensorInfo>,
    /// The parameters; empty when the frame has none.
    pub params: Map<String, Value>,
    /// Where tensor bytes begin, counted from the frame's first byte.
    pub data_start: usize,
    /// The frame's length in bytes.
    pub total: usize,
}

impl Layout {
    /// Reads a header (as [`header`] gives it).
    ///
    /// # Errors
    /// `invalid_frame` when it is malformed or exceeds a limit, `invalid_parameter` when a parameter is not finite.
    pub fn parse(header: &[u8]) -> Result<Self> {
        parse::layout(header)
    }

    /// Checks that a frame has as many bytes as its header says.
    ///
    /// # Errors
    /// `invalid_frame`.
    pub fn check_length(&self, bytes: usize) -> Result<()> {
        if bytes == self.total {
            return Ok(());
        }
        Err(invalid(format!(
            "frame has {bytes} bytes; its header says {}",
            self.total
        )))
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|info| info.name == name)
    }
}

/// A decoded frame; cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What the header says.
    pub layout: Arc<Layout>,
    /// The whole frame.
    pub bytes: Bytes,
}

impl Frame {
    /// Reads a frame without copying tensor bytes.
    ///
    /// # Errors
    /// As [`header`] and [`Layout::parse`]; `invalid_frame` when the length is not what the header says.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let layout = Layout::parse(header(&bytes)?)?;
        Self::new(Arc::new(layout), bytes)
    }

    /// A frame whose header was read before.
    ///
    /// # Errors
    /// `invalid_frame` when the length is not what the header says.
    pub fn new(layout: Arc<Layout>, bytes: Bytes) -> Result<Self> {
        layout.check_length(bytes.len())?;
        Ok(Self { layout, bytes })
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.layout.tensor(name).map(|info| self.view(info))
    }

    /// The tensors, in the header's order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.layout.tensors.iter().map(|info| self.view(info))
    }

    fn view<'a>(&'a self, info: &'a TensorInfo) -> Tensor<'a> {
        Tensor {
            info,
            data: &self.bytes[info.start..info.end],
        }
    }
}

/// A tensor inside a frame.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Its name, type and shape.
    pub info: &'a TensorInfo,
    /// Its bytes, little-endian, row-major; not necessarily aligned for its element type.
    pub data: &'a [u8],
}

/// The JSON bytes of a frame's header.
///
/// # Errors
/// `invalid_frame` when the frame is shorter than it says or the header's length is not allowed.
pub fn header(frame: &[u8]) -> Result<&[u8]> {
    let Some((prefix, rest)) = frame.split_first_chunk::<PREFIX>() else {
        return Err(invalid(format!(
            "frame has {} bytes; at least {PREFIX} are needed",
            frame.len()
        )));
    };
    let length = u64::from_le_bytes(*prefix);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_HEADER_BYTES)
        .ok_or_else(|| {
            invalid(format!(
                "frame header has {length} bytes; allowed: at most {MAX_HEADER_BYTES}"
            ))
        })?;
    if !(PREFIX + length).is_multiple_of(ALIGNMENT) {
        return Err(invalid(format!(
            "frame header has {length} bytes; allowed: multiples of {ALIGNMENT}"
        )));
    }
    rest.get(..length).ok_or_else(|| {
        invalid(format!(
            "frame is truncated: its header has {length} bytes, {} are there",
            rest.len()
        ))
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidFrame, message)
}

/// The bytes of a tensor. Multiplied from the left with a check each time, so that every language refuses the same.
fn byte_length(shape: &[usize], element: usize) -> Option<usize> {
    shape.iter().try_fold(element, |bytes, dimension| {
        bytes.checked_mul(*dimension).filter(|bytes| *bytes <= MAX_SIZE)
    })
}
