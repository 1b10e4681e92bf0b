//! Gives back the tensors it gets, to measure the fleet and to rehearse its failures.

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_wire::{Frame, Layout, Output, Result, frame};
use serde_json::{Map, Value};

use crate::{Context, Operation};

/// How often a delayed echo asks whether it is still wanted.
const POLL: Duration = Duration::from_millis(2);

/// The operation `echo`.
pub struct Echo;

impl Operation for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn rows(&self, _: &Layout) -> usize {
        1
    }

    /// Answers with the request's own bytes when there is nothing in them but tensors: nothing is copied.
    fn execute(&self, request: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        let delay = params.get("delay").and_then(Value::as_f64).unwrap_or_default();
        if delay > 0.0 {
            wait(Duration::from_secs_f64(delay), context)?;
        }
        if request.layout.params.is_empty() {
            return Ok(request.bytes.clone());
        }
        let outputs: Vec<_> = request.tensors().map(|tensor| Output::from(&tensor)).collect();
        frame::encode(&outputs, &Map::new())
    }
}

fn wait(delay: Duration, context: &Context<'_>) -> Result<()> {
    let start = Instant::now();
    while let Some(rest) = delay.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()) {
        context.check()?;
        context.report(1.0 - rest.as_secs_f64() / delay.as_secs_f64());
        thread::sleep(rest.min(POLL));
    }
    Ok(())
}
