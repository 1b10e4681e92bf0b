//! Spans of sampled requests. An unsampled request costs one look at its `traceparent`.
//!
//! The stages of a request are measured anyway, for its timing header, so a span is not kept open while work goes on:
//! it is built from two moments once they are known, and handed to the batch processor, which never blocks.
//!
//! - `trace`: the trace that a request belongs to, read from its headers;
//! - `stages`: what each stage of a request tells;
//! - `export`: where spans go, by the standard variables;
//! - `file`: the local file for when there is no collector, written by `json`.

mod export;
mod file;
mod json;
mod stages;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{Link, SpanContext, SpanId, Status, TraceFlags};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, SpanData, SpanLinks, SpanProcessor as _,
};

use crate::events::log;
use stages::Stage;
pub(crate) use stages::{Batch, Times};
pub(crate) use trace::Trace;

/// The sink of all spans of a worker; none when tracing is off.
pub(crate) struct Telemetry {
    processor: Option<BatchSpanProcessor>,
    scope: InstrumentationScope,
    offered: AtomicU64,
    exported: Arc<AtomicU64>,
}

impl Telemetry {
    /// Starts the exporter that the environment asks for; must not be called on an event loop.
    pub(crate) fn start(worker: &str) -> Self {
        let exported = Arc::new(AtomicU64::new(0));
        let processor = match export::processor(worker, &exported) {
            Ok(processor) => processor,
            Err(reason) => {
                log(format_args!("tracing is off: {reason}"));
                None
            }
        };
        let scope = InstrumentationScope::builder("npufleet")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self {
            processor,
            scope,
            offered: AtomicU64::new(0),
            exported,
        }
    }

    /// Whether spans go anywhere.
    pub(crate) fn is_on(&self) -> bool {
        self.processor.is_some()
    }

    /// Records a stage as a child of the caller's span.
    fn record(&self, trace: &Trace, stage: Stage) {
        let Some(processor) = &self.processor else {
            return;
        };
        let id = RandomIdGenerator::default().new_span_id();
        let mut links = SpanLinks::default();
        links.links.extend(stage.links.into_iter().map(Link::with_context));
        self.offered.fetch_add(1, Relaxed);
        processor.on_end(SpanData {
            span_context: trace.context(id),
            parent_span_id: trace.parent,
            parent_span_is_remote: true,
            span_kind: stage.kind,
            name: stage.name,
            start_time: trace.at(stage.start),
            end_time: trace.at(stage.end),
            attributes: stage.attributes,
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links,
            status: stage.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Exports what is left and says how many spans were lost; must not be called on an event loop.
    pub(crate) fn stop(&self) {
        let Some(processor) = &self.processor else {
            return;
        };
        if let Err(error) = processor.shutdown() {
            log(format_args!("cannot export the last spans: {error}"));
        }
        let dropped = self.offered.load(Relaxed).saturating_sub(self.exported.load(Relaxed));
        if dropped > 0 {
            log(format_args!("{dropped} spans were dropped"));
        }
    }
}

impl Trace {
    fn context(&self, id: SpanId) -> SpanContext {
        SpanContext::new(self.id, id, TraceFlags::SAMPLED, false, self.state.clone())
    }
}
