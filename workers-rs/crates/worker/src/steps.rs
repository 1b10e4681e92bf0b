//! What a worker offers to an operation that runs in it: its models, and spans of the steps.

use std::time::Instant;

use bytes::Bytes;
use npufleet_operations::{Worker, pipeline::Step};
use npufleet_wire::{Error, ErrorKind, Frame, Result};
use serde_json::{Map, Value};

use crate::core::Core;
use crate::request::Request;

/// The worker as one request sees it.
pub(crate) struct Here<'a> {
    pub(crate) core: &'a Core,
    pub(crate) request: &'a Request,
}

impl Worker for Here<'_> {
    fn infer(&self, model: &str, frame: &Frame, params: &Map<String, Value>) -> Result<Bytes> {
        let endpoint = self.core.endpoints.read().get(&format!("infer-{model}")).cloned();
        let network = endpoint.and_then(|endpoint| endpoint.network(params).transpose());
        let network = network.unwrap_or_else(|| {
            let message = format!("model '{model}' is not served by this worker");
            Err(Error::new(ErrorKind::UnknownModel, message))
        })?;
        network.check(&frame.layout)?;
        self.request.prepared.ran_on(network.device());
        let missing = || {
            Err(Error::new(
                ErrorKind::Internal,
                "the model gave no result for this request",
            ))
        };
        network.infer(std::slice::from_ref(frame)).pop().unwrap_or_else(missing)
    }

    fn step(&self, step: &Step<'_>, start: Instant, error: Option<&Error>) {
        self.core.telemetry.step(self.request, step, start, error);
    }
}
