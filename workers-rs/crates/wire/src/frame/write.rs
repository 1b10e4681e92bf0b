//! Making frames.

use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    ALIGNMENT, COMPLEX, MAX_DATA, MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_TENSORS,
    METADATA, PARAMS, PREFIX, byte_length, invalid,
};
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

/// A frame with these tensors and parameters.
///
/// # Errors
/// As [`allocate`]; `invalid_frame` also when a tensor's bytes are not as many as its type and shape need.
pub fn encode(tensors: &[Output<'_>], params: &Map<String, Value>) -> Result<Bytes> {
    let plan = Plan::new(
        tensors
            .iter()
            .map(|tensor| (tensor.name, tensor.dtype, tensor.shape)),
        params,
    )?;
    for (tensor, range) in tensors.iter().zip(&plan.ranges) {
        if tensor.data.len() != range.len() {
            let Output {
                name,
                dtype,
                shape,
                data,
            } = tensor;
            let (have, need) = (data.len(), range.len());
            return Err(invalid(format!(
                "tensor '{name}' has {have} bytes; {} {shape:?} needs {need}",
                dtype.numpy()
            )));
        }
    }
    let mut frame = plan.header;
    for index in plan.order {
        frame.extend_from_slice(tensors[index].data);
    }
    Ok(frame.into())
}

/// A frame whose tensors are zero, with the place of each in the order of `specs`, for kernels that write in place.
///
/// # Errors
/// `invalid_frame` when a limit is exceeded or a name is empty, too long, reserved or given twice;
/// `payload_too_large` when there is no memory for it.
pub fn allocate(
    specs: &[(&str, Dtype, &[usize])],
    params: &Map<String, Value>,
) -> Result<(Vec<u8>, Vec<Range<usize>>)> {
    let Plan {
        mut header,
        ranges,
        total,
        ..
    } = Plan::new(specs.iter().copied(), params)?;
    header.resize(total, 0);
    Ok((header, ranges))
}

/// A written header with room behind it for the tensors.
struct Plan {
    header: Vec<u8>,
    /// The place of each tensor, in the caller's order.
    ranges: Vec<Range<usize>>,
    /// The caller's indices in the order of storage.
    order: Vec<usize>,
    total: usize,
}

impl Plan {
    fn new<'a>(
        specs: impl ExactSizeIterator<Item = (&'a str, Dtype, &'a [usize])> + Clone,
        params: &Map<String, Value>,
    ) -> Result<Self> {
        if specs.len() > MAX_TENSORS {
            return Err(invalid(format!(
                "frame has {} tensors; allowed: at most {MAX_TENSORS}",
                specs.len()
            )));
        }
        let specs: Vec<_> = specs.collect();
        let mut order: Vec<_> = (0..specs.len()).collect();
        // Larger elements first: every tensor is then aligned to its element size.
        order.sort_by_key(|index| std::cmp::Reverse(specs[*index].1.size()));

        let mut ranges = vec![0..0; specs.len()];
        let mut data_length = 0_usize;
        for &index in &order {
            let (name, dtype, shape) = specs[index];
            check(name, dtype, shape, &specs[..index])?;
            let end = byte_length(shape, dtype.size())
                .and_then(|bytes| data_length.checked_add(bytes))
                .filter(|end| *end <= MAX_DATA);
            let end = end.ok_or_else(|| {
                invalid(format!("tensor '{name}' {shape:?} is larger than memory"))
            })?;
            ranges[index] = data_length..end;
            data_length = end;
        }

        // Names rarely need escapes; when they do, the vector grows.
        let estimate = 128
            + specs
                .iter()
                .map(|(name, _, shape)| name.len() + 96 + 21 * shape.len())
                .sum::<usize>();
        let mut header = Vec::new();
        let room = data_length
            .checked_add(estimate)
            .filter(|room| header.try_reserve_exact(*room).is_ok());
        if room.is_none() {
            let message = format!("a frame of {data_length} bytes is larger than memory");
            return Err(Error::new(ErrorKind::PayloadTooLarge, message));
        }
        write_header(&mut header, &specs, &order, &ranges, params)?;
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
}

fn check(
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    before: &[(&str, Dtype, &[usize])],
) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(invalid(format!(
            "a tensor name has {} bytes; allowed: 1 to {MAX_NAME_BYTES}",
            name.len()
        )));
    }
    if name == METADATA || before.iter().any(|(other, ..)| *other == name) {
        return Err(invalid(format!(
            "tensor name '{name}' is reserved or given twice"
        )));
    }
    let stored = shape.len() + usize::from(dtype == Dtype::C128);
    if stored > MAX_DIMENSIONS {
        return Err(invalid(format!(
            "tensor '{name}' is stored with {stored} dimensions; allowed: at most {MAX_DIMENSIONS}"
        )));
    }
    Ok(())
}

fn write_header(
    out: &mut Vec<u8>,
    specs: &[(&str, Dtype, &[usize])],
    order: &[usize],
    ranges: &[Range<usize>],
    params: &Map<String, Value>,
) -> Result<()> {
    out.extend_from_slice(&[0; PREFIX]);
    out.push(b'{');
    let complex: Vec<_> = order
        .iter()
        .map(|&index| specs[index])
        .filter(|spec| spec.1 == Dtype::C128)
        .collect();
    if !complex.is_empty() || !params.is_empty() {
        write_metadata(
            out,
            &complex.iter().map(|spec| spec.0).collect::<Vec<_>>(),
            params,
        )?;
    }
    for &index in order {
        let ((name, dtype, shape), range) = (specs[index], &ranges[index]);
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
fn write_metadata(out: &mut Vec<u8>, complex: &[&str], params: &Map<String, Value>) -> Result<()> {
    write_json(out, METADATA)?;
    out.extend_from_slice(b":{");
    if !params.is_empty() {
        write_json(out, PARAMS)?;
        out.push(b':');
        write_json(out, &text(params)?)?;
    }
    if !complex.is_empty() {
        separate(out);
        write_json(out, COMPLEX)?;
        out.push(b':');
        write_json(out, &text(complex)?)?;
    }
    out.push(b'}');
    Ok(())
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn text(value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map_err(|error| invalid(format!("frame header: {error}")))
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|error| invalid(format!("frame header: {error}")))
}
