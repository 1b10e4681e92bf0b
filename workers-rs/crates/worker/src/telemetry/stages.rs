//! The stages of a request as spans, siblings below the caller's span: `receive`, `payload.fetch`, `batch`, `execute`,
//! and `reply` or `forward`.

use std::borrow::Cow;
use std::time::Instant;

use npufleet_operations::pipeline::Step;
use opentelemetry::trace::{SpanContext, SpanKind};
use opentelemetry::{KeyValue, Value};

use super::{Telemetry, Trace};
use crate::core::ENGINE;
use crate::request::Request;

/// What a stage of a request did.
pub(super) struct Stage {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    pub(super) start: Instant,
    pub(super) end: Instant,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<SpanContext>,
    /// The text of the failure, if the stage failed.
    pub(super) error: Option<String>,
}

/// A batch as the spans of its members tell it.
#[derive(Default)]
pub(crate) struct Batch {
    rows: usize,
    members: usize,
    sampled: Vec<SpanContext>,
}

/// When a request was worked on.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// An executor took it.
    pub(crate) taken: Instant,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Stage {
    fn new(name: impl Into<Cow<'static, str>>, start: Instant, end: Instant) -> Self {
        let (kind, attributes, links, error) = (SpanKind::Internal, Vec::new(), Vec::new(), None);
        Self {
            name: name.into(),
            kind,
            start,
            end,
            attributes,
            links,
            error,
        }
    }

    fn kind(self, kind: SpanKind) -> Self {
        Self { kind, ..self }
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    fn count(self, key: &'static str, value: usize) -> Self {
        self.with(key, i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl Batch {
    /// Looks at the members before they are executed.
    pub(crate) fn of(requests: &[Request]) -> Self {
        let traces = requests.iter().filter_map(|request| request.trace.as_ref());
        let sampled: Vec<_> = traces.map(|trace| trace.parent_context()).collect();
        if sampled.is_empty() {
            return Self::default();
        }
        let rows = requests.iter().map(|request| request.prepared.rows).sum();
        Self {
            rows,
            members: requests.len(),
            sampled,
        }
    }
}

impl Telemetry {
    /// The payload was decoded.
    pub(crate) fn fetched(&self, trace: &Trace, placement: &'static str, bytes: usize, start: Instant) {
        let stage = Stage::new("payload.fetch", start, Instant::now())
            .with("npufleet.payload.placement", placement)
            .count("npufleet.payload.bytes", bytes);
        self.record(trace, stage);
    }

    /// The request waited, was batched and executed.
    pub(crate) fn executed(
        &self,
        request: &Request,
        batch: &Batch,
        times: Times,
        error: Option<&npufleet_wire::Error>,
    ) {
        let Some(trace) = &request.trace else { return };
        let Times { taken, start, end } = times;
        let endpoint = &request.endpoint;
        let mut receive = Stage::new("receive", request.arrived, taken)
            .kind(SpanKind::Consumer)
            .with("messaging.system", "nats")
            .with("messaging.operation.name", "receive")
            .with("messaging.destination.name", endpoint.pattern.clone())
            .with("npufleet.operation", endpoint.operation.clone())
            .with("npufleet.lane", request.lane.as_str());
        if let Some(reason) = request.fallback_reason() {
            receive = receive.with("npufleet.fallback.reason", reason.to_owned());
        }
        self.record(trace, receive);

        let mut gather = Stage::new("batch", taken, start)
            .count("npufleet.batch.rows", batch.rows)
            .count("npufleet.batch.members", batch.members);
        let others = batch.sampled.iter().filter(|other| other.span_id() != trace.parent);
        gather.links = others.cloned().collect();
        self.record(trace, gather);

        let mut execute = Stage::new("execute", start, end)
            .with("npufleet.engine", ENGINE)
            .with("npufleet.device", request.prepared.device().to_owned())
            .with("npufleet.operation", endpoint.operation.clone())
            .count("npufleet.rows", request.prepared.rows);
        if let Some(model) = &endpoint.model {
            execute = execute.with("npufleet.model", model.clone());
        }
        execute.error = error.map(text);
        self.record(trace, execute);
    }

    /// A step of a pipeline was executed just now.
    pub(crate) fn step(
        &self,
        request: &Request,
        step: &Step<'_>,
        start: Instant,
        error: Option<&npufleet_wire::Error>,
    ) {
        let Some(trace) = &request.trace else { return };
        let mut stage = Stage::new(format!("execute {}", step.operation), start, Instant::now())
            .with("npufleet.engine", ENGINE)
            .with("npufleet.operation", step.operation.to_owned());
        if let Some(model) = step.model {
            stage = stage.with("npufleet.model", model.to_owned());
        }
        stage.error = error.map(text);
        self.record(trace, stage);
    }

    /// The answer was sent: an error, or a result, and which way that went.
    pub(crate) fn replied(
        &self,
        request: &Request,
        start: Instant,
        answer: std::result::Result<&'static str, &npufleet_wire::Error>,
    ) {
        let Some(trace) = &request.trace else { return };
        let mut stage = Stage::new("reply", start, Instant::now())
            .kind(SpanKind::Producer)
            .with("messaging.system", "nats")
            .with("messaging.operation.name", "send");
        match answer {
            Ok(placement) => stage = stage.with("npufleet.payload.placement", placement),
            Err(error) => stage.error = Some(text(error)),
        }
        self.record(trace, stage);
    }

    /// The request was handed to the other engine.
    pub(crate) fn forwarded(&self, request: &Request, start: Instant, subject: &str, reason: &str) {
        let Some(trace) = &request.trace else { return };
        let stage = Stage::new("forward", start, Instant::now())
            .kind(SpanKind::Producer)
            .with("messaging.system", "nats")
            .with("messaging.operation.name", "send")
            .with("messaging.destination.name", subject.to_owned())
            .with("npufleet.fallback.reason", reason.to_owned());
        self.record(trace, stage);
    }
}

fn text(error: &npufleet_wire::Error) -> String {
    format!("{}: {}", error.kind, error.message)
}
