//! Multilevel discrete wavelet transform along one axis, with the numbers and names of `PyWavelets`.

mod extend;
mod filters;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod lattice;
mod line;
#[cfg(target_arch = "x86_64")]
mod neighbours;
mod request;
mod sweep;
mod work;

use bytes::Bytes;
use npufleet_wire::{Dtype, Error, ErrorKind, Frame, Layout, Result};
use serde_json::{Map, Value};

use crate::common::{Lines, position};
use crate::{Context, Operation};
use request::Request;
use work::Real;

/// The operation `wavelet`.
pub struct Wavelet;

impl Operation for Wavelet {
    fn name(&self) -> &'static str {
        "wavelet"
    }

    /// The number of lines along the axis.
    fn rows(&self, layout: &Layout) -> usize {
        let lines = layout.tensors.first().and_then(|first| {
            let position = position(&layout.params, "axis", first.shape.len()).ok()?;
            Some(Lines::of(first, position).count())
        });
        lines.unwrap_or(1).max(1)
    }

    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let request = Request::new(&frame.layout, params)?;
        match request.dtype {
            Dtype::F32 => answer::<f32>(frame, &request, context),
            Dtype::F64 => answer::<f64>(frame, &request, context),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("wavelet of {} is not done by this engine", other.numpy()),
            )),
        }
    }
}

/// Works line by line from the tensors of the request to their places in the reply frame.
fn answer<T: Real>(frame: &Frame, request: &Request<'_>, context: &Context<'_>) -> Result<Bytes> {
    let outputs = request.outputs()?;
    let named = outputs.names().zip(outputs.shapes());
    let specs: Vec<_> = named.map(|(name, shape)| (name, request.dtype, shape)).collect();
    let (mut reply, places) = context.draft(&specs)?;
    let sources: Vec<_> = request
        .inputs
        .iter()
        .map(|info| (&frame.bytes[info.start..info.end], info.shape[request.position]))
        .collect();
    let first = places.iter().map(|place| place.start).min().unwrap_or(reply.len());
    let targets: Vec<_> = places
        .iter()
        .zip(outputs.lengths())
        .map(|(place, length)| ((place.start - first) / size_of::<T>(), length))
        .collect();
    let area = &mut reply[first..];
    T::with_work(|work| {
        let mut run = |area: &mut [T]| sweep::run(request, &sources, &targets, area, work, context);
        if let Ok(area) = bytemuck::try_cast_slice_mut(area) {
            return run(area);
        }
        // Only an allocator that aligns to less than 8 bytes gets here.
        let mut copy = vec![T::default(); area.len() / size_of::<T>()];
        run(&mut copy)?;
        area.copy_from_slice(bytemuck::cast_slice(&copy));
        Ok(())
    })?;
    Ok(reply.into())
}
