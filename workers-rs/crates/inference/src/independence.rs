//! Whether a model's first dimension really counts independent rows, found by trying.
//!
//! A batch joins requests of different callers, so a model that lets rows see each other (a sequence along the first
//! dimension, say) must not be batched: its answers would depend on who else asked.

use bytes::Bytes;
use half::f16;
use npufleet_wire::{Dtype, Frame, Output, Result, Tensor, frame};
use serde_json::Map;

use crate::Port;
use crate::batch::Member;

/// Largest difference that rounding explains, relative to the largest value of a tensor.
const FINE: f64 = 1e-3;
const COARSE: f64 = 5e-2;

/// Runs one row alone.
///
/// # Errors
/// As the inference.
pub(crate) fn warm(inputs: &[Port], alone: impl Fn(&[Member<'_>]) -> Result<Vec<Bytes>>) -> Result<()> {
    let frame = made_up_row(inputs, 1)?;
    alone(&[Member { frame: &frame, rows: 1 }]).map(drop)
}

/// Runs two different rows alone and together; true when both give the same.
///
/// # Errors
/// As the inferences: made-up input may be what a model cannot take.
pub(crate) fn holds(
    inputs: &[Port],
    coarse: bool,
    alone: impl Fn(&[Member<'_>]) -> Result<Vec<Bytes>>,
    together: impl Fn(&[Member<'_>]) -> Result<Vec<Bytes>>,
) -> Result<bool> {
    let rows = [made_up_row(inputs, 1)?, made_up_row(inputs, 2)?];
    let members = rows.each_ref().map(|frame| Member { frame, rows: 1 });
    let tolerance = if coarse { COARSE } else { FINE };
    for (member, joined) in members.iter().zip(together(&members)?) {
        for reply in alone(std::slice::from_ref(member))? {
            if !same(reply, joined.clone(), tolerance)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn same(alone: Bytes, joined: Bytes, tolerance: f64) -> Result<bool> {
    let (alone, joined) = (Frame::decode(alone)?, Frame::decode(joined)?);
    Ok(alone.tensors().all(|tensor| {
        let (a, b) = (
            numbers(&tensor),
            joined.tensor(&tensor.info.name).map(|other| numbers(&other)),
        );
        b.is_some_and(|b| close(&a, &b, tolerance))
    }))
}

/// The values of a floating-point tensor; others give none, as rounding may flip what derives from floats.
fn numbers(tensor: &Tensor<'_>) -> Vec<f64> {
    match tensor.info.dtype {
        Dtype::F16 => each(tensor.data, |bytes| f16::from_le_bytes(bytes).to_f64()),
        Dtype::F32 => each(tensor.data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Dtype::F64 => each(tensor.data, f64::from_le_bytes),
        _ => Vec::new(),
    }
}

fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let largest = a
        .iter()
        .filter(|x| x.is_finite())
        .fold(0.0_f64, |most, x| most.max(x.abs()));
    let allowed = (largest * tolerance).max(1e-6);
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(x, y)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()) || (x - y).abs() <= allowed)
}

/// A frame of one row: floats in [-1, 1], integers of 0 and 1, which any vocabulary and any index takes.
fn made_up_row(inputs: &[Port], seed: u64) -> Result<Frame> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = move || {
        // xorshift64: nothing hangs on its quality.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    };
    let mut tensors = Vec::with_capacity(inputs.len());
    for port in inputs {
        let shape = port.with_rows(1).unwrap_or_default();
        let count: usize = shape.iter().product();
        let mut data = Vec::with_capacity(count * port.dtype.size());
        for _ in 0..count {
            let random = next();
            let unit = (random % 2001) as f64 / 1000.0 - 1.0;
            match port.dtype {
                Dtype::F16 => data.extend_from_slice(&f16::from_f64(unit).to_le_bytes()),
                Dtype::F32 => data.extend_from_slice(&(unit as f32).to_le_bytes()),
                Dtype::F64 => data.extend_from_slice(&unit.to_le_bytes()),
                dtype => {
                    data.push((random & 1) as u8);
                    data.resize(data.len() + dtype.size() - 1, 0);
                }
            }
        }
        tensors.push((shape, data));
    }
    let outputs: Vec<_> = inputs
        .iter()
        .zip(&tensors)
        .map(|(port, (shape, data))| Output {
            name: &port.name,
            dtype: port.dtype,
            shape,
            data,
        })
        .collect();
    Frame::decode(frame::encode(&outputs, &Map::new())?)
}
