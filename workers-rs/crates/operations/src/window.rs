//! Window functions, with the numbers and names of `scipy.signal.get_window`.

use bytes::Bytes;
use npufleet_wire::{Dtype, Frame, Layout, Result};
use serde_json::{Map, Value};

use crate::common::{Pace, check_result, fill_place, flag, invalid_parameter, whole};
use crate::{Context, Operation, common};

/// The operation `window`.
pub struct Window;

impl Operation for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn rows(&self, _: &Layout) -> usize {
        1
    }

    fn execute(&self, _: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let missing = |name: &str| invalid_parameter(format!("parameter '{name}' is missing"));
        let window = common::Window::of(params)?.ok_or_else(|| missing("window"))?;
        let points = whole(params, "n").ok_or_else(|| missing("n"))?;
        check_result(Dtype::F64, &[points])?;
        let (mut reply, places) = context.draft(&[("y", Dtype::F64, &[points])])?;
        fill_place(&mut reply[places[0].clone()], |weights| {
            window.fill(
                weights,
                flag(params, "fftbins").unwrap_or(true),
                &mut Pace::new(context),
            )
        })?;
        Ok(reply.into())
    }
}
