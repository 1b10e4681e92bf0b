//! Making frames.

use std::cmp::Reverse;
use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    ALIGNMENT, CACHE_LINE, COMPLEX, MAX_DATA, MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_TENSORS, METADATA,
    PARAMS, PREFIX, Tensor, TensorInfo, byte_length, invalid,
};
use super::{Draft, Room};
use crate::{Dtype, Error, ErrorKind, Result};

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Its name, unique in the frame.
    pub name: &'a str,
    /// Its element type.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: &'a [usize],
    /// Its bytes, little-endian, row-major.
    pub data: &'a [u8],
}

impl<'a> From<&Tensor<'a>> for Output<'a> {
    /// A tensor of one frame, to be written into another.
    fn from(tensor: &Tensor<'a>) -> Self {
        let TensorInfo { name, dtype, shape, .. } = tensor.info;
        Self {
            name,
            dtype: *dtype,
            shape,
            data: tensor.data,
        }
    }
}

/// A frame with these tensors and parameters.
///
/// # Errors
/// As [`draft`]; `invalid_frame` also when a tensor's bytes are not as many as its type and shape need.
pub fn encode(tensors: &[Output<'_>], params: &Map<String, Value>) -> Result<Bytes> {
    let spec = |index: usize| {
        let Output { name, dtype, shape, .. } = tensors[index];
        (name, dtype, shape)
    };
    let plan = Plan::new(tensors.len(), spec, params)?;
    for (tensor, range) in tensors.iter().zip(&plan.ranges) {
        if tensor.data.len() != range.len() {
            let Output {
                name,
                dtype,
                shape,
                data,
            } = tensor;
            let (have, need) = (data.len(), range.len());
            let message = format!(
                "tensor '{name}' has {have} bytes; {} {shape:?} needs {need}",
                dtype.numpy()
            );
            return Err(invalid(message));
        }
    }
    let mut frame = plan.header;
    reserve(&mut frame, plan.total)?;
    for index in plan.order {
        frame.extend_from_slice(tensors[index].data);
    }
    Ok(frame.into())
}

/// A frame without parameters in `room`, its tensors still to be written, with the place of each in the order of `specs`:
/// for kernels that write in place.
///
/// # Errors
/// `invalid_frame` when a limit is exceeded or a name is empty, too long, reserved or given twice;
/// `payload_too_large` when there is no memory for it.
pub fn draft<'a>(room: &'a dyn Room, specs: &[Spec<'_>]) -> Result<(Draft<'a>, Vec<Range<usize>>)> {
    let mut plan = Plan::new(specs.len(), |index| specs[index], &Map::new())?;
    if plan.total - plan.header.len() > SMALL {
        plan.widen();
    }
    let Plan {
        header, ranges, total, ..
    } = plan;
    Ok((Draft::new(room, header, total)?, ranges))
}

/// A tensor's name, element type and dimensions.
pub type Spec<'a> = (&'a str, Dtype, &'a [usize]);

/// Tensors of together at most so many bytes are on the heap right behind the header.
const SMALL: usize = 4096;

/// Makes room for a frame of so many bytes.
///
/// # Errors
/// `payload_too_large` when there is no memory for it.
pub(super) fn reserve(frame: &mut Vec<u8>, total: usize) -> Result<()> {
    frame.try_reserve_exact(total - frame.len()).map_err(|_| {
        let message = format!("a frame of {total} bytes is larger than memory");
        Error::new(ErrorKind::PayloadTooLarge, message)
    })
}

/// A frame before its tensors are in it.
struct Plan {
    /// With capacity for the tensors behind it when they are small.
    header: Vec<u8>,
    /// The place of each tensor, in the caller's order.
    ranges: Vec<Range<usize>>,
    /// The caller's indices in the order of storage.
    order: Vec<usize>,
    total: usize,
}

impl Plan {
    fn new<'a>(count: usize, spec: impl Fn(usize) -> Spec<'a>, params: &Map<String, Value>) -> Result<Self> {
        if count > MAX_TENSORS {
            return Err(invalid(format!(
                "frame has {count} tensors; allowed: at most {MAX_TENSORS}"
            )));
        }
        let mut order: Vec<_> = (0..count).collect();
        // Larger elements first: every tensor is then aligned to its element size.
        order.sort_by_key(|index| Reverse(spec(*index).1.size()));

        let mut ranges = vec![0..0; count];
        let mut data_length = 0_usize;
        // Names rarely need escapes; when they do, the vector grows.
        let mut estimate = 192;
        for &index in &order {
            let (name, dtype, shape) = spec(index);
            check(name, dtype, shape)?;
            if (0..index).any(|other| spec(other).0 == name) {
                return Err(invalid(format!("tensor name '{name}' is given twice")));
            }
            let end = byte_length(shape, dtype.size()).and_then(|bytes| data_length.checked_add(bytes));
            let end = end.filter(|end| *end <= MAX_DATA);
            let end = end.ok_or_else(|| invalid(format!("tensor '{name}' {shape:?} is larger than memory")))?;
            ranges[index] = data_length..end;
            data_length = end;
            estimate += 96 + 2 * name.len() + 21 * shape.len();
        }

        let data_here = if data_length <= SMALL { data_length } else { 0 };
        let mut header = Vec::with_capacity(data_here + estimate);
        write_header(
            &mut header,
            order.iter().map(|&index| (spec(index), &ranges[index])),
            params,
        )?;
        let data_start = header.len();
        for range in &mut ranges {
            *range = data_start + range.start..data_start + range.end;
        }
        Ok(Self {
            header,
            ranges,
            order,
            total: data_start + data_length,
        })
    }

    /// Puts spaces at the end of the header, where they fit, so that tensors begin with a cache line: half of the vectors
    /// that a kernel writes would lie in two.
    fn widen(&mut self) {
        let length = self.header.len().next_multiple_of(CACHE_LINE);
        if length - PREFIX > MAX_HEADER_BYTES {
            return;
        }
        let gap = length - self.header.len();
        self.header.resize(length, b' ');
        self.header[..PREFIX].copy_from_slice(&((length - PREFIX) as u64).to_le_bytes());
        for range in &mut self.ranges {
            *range = range.start + gap..range.end + gap;
        }
        self.total += gap;
    }
}

fn check(name: &str, dtype: Dtype, shape: &[usize]) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(invalid(format!(
            "a tensor name has {} bytes; allowed: 1 to {MAX_NAME_BYTES}",
            name.len()
        )));
    }
    if name == METADATA {
        return Err(invalid(format!("tensor name '{name}' is reserved")));
    }
    let stored = shape.len() + usize::from(dtype == Dtype::C128);
    if stored > MAX_DIMENSIONS {
        let message = format!("tensor '{name}' is stored with {stored} dimensions; allowed: at most {MAX_DIMENSIONS}");
        return Err(invalid(message));
    }
    Ok(())
}

fn write_header<'a>(
    out: &mut Vec<u8>,
    tensors: impl Iterator<Item = (Spec<'a>, &'a Range<usize>)> + Clone,
    params: &Map<String, Value>,
) -> Result<()> {
    out.extend_from_slice(&[0; PREFIX]);
    out.push(b'{');
    let complex = tensors
        .clone()
        .filter_map(|((name, dtype, _), _)| (dtype == Dtype::C128).then_some(name));
    write_metadata(out, params, &names_text(complex)?)?;
    for ((name, dtype, shape), range) in tensors {
        separate(out);
        write_json(out, name)?;
        out.extend_from_slice(b":{\"dtype\":\"");
        out.extend_from_slice(dtype.stored().as_bytes());
        out.extend_from_slice(b"\",\"shape\":[");
        for dimension in shape.iter().chain((dtype == Dtype::C128).then_some(&2)) {
            if out.last() != Some(&b'[') {
                out.push(b',');
            }
            write_json(out, dimension)?;
        }
        out.extend_from_slice(b"],\"data_offsets\":[");
        write_json(out, &range.start)?;
        out.push(b',');
        write_json(out, &range.end)?;
        out.extend_from_slice(b"]}");
    }
    out.push(b'}');
    out.resize(out.len().next_multiple_of(ALIGNMENT), b' ');
    let length = out.len() - PREFIX;
    if length > MAX_HEADER_BYTES {
        return Err(invalid(format!(
            "frame header has {length} bytes; allowed: at most {MAX_HEADER_BYTES}"
        )));
    }
    out[..PREFIX].copy_from_slice(&(length as u64).to_le_bytes());
    Ok(())
}

/// Metadata values are strings: JSON inside JSON.
fn write_metadata(out: &mut Vec<u8>, params: &Map<String, Value>, complex: &str) -> Result<()> {
    if params.is_empty() && complex.is_empty() {
        return Ok(());
    }
    write_json(out, METADATA)?;
    out.extend_from_slice(b":{");
    if !params.is_empty() {
        write_json(out, PARAMS)?;
        out.push(b':');
        write_json(out, &serde_json::to_string(params).map_err(|error| unwritable(&error))?)?;
    }
    if !complex.is_empty() {
        separate(out);
        write_json(out, COMPLEX)?;
        out.push(b':');
        write_json(out, complex)?;
    }
    out.push(b'}');
    Ok(())
}

/// The text of a JSON array of names; nothing when there are none.
fn names_text<'a>(names: impl Iterator<Item = &'a str>) -> Result<String> {
    let mut text = Vec::new();
    for name in names {
        text.push(if text.is_empty() { b'[' } else { b',' });
        write_json(&mut text, name)?;
    }
    if !text.is_empty() {
        text.push(b']');
    }
    String::from_utf8(text).map_err(|error| invalid(format!("frame header: {error}")))
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|error| unwritable(&error))
}

fn unwritable(error: &serde_json::Error) -> Error {
    invalid(format!("frame header: {error}"))
}
