//! Where spans go: a collector (OTLP over HTTP), a local file, or nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _};

use super::file::FileExporter;
use crate::events::log;

/// How long a span waits for others before it is exported.
const DELAY: Duration = Duration::from_millis(500);
const SERVICE: &str = "npufleet-worker-rust";

/// The processor that the environment asks for; none when tracing is switched off.
pub(super) fn processor(worker: &str, count: &Arc<AtomicU64>) -> Result<Option<BatchSpanProcessor>, String> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let endpoint = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        .into_iter()
        .find_map(variable);
    let default = if endpoint.is_some() { "otlp" } else { "file" };
    let choice = variable("OTEL_TRACES_EXPORTER");
    let mut processor = match choice.as_deref().unwrap_or(default) {
        "none" => return Ok(None),
        "otlp" => {
            let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build();
            build(exporter.map_err(|error| error.to_string())?, count)
        }
        "file" => build(FileExporter::open(&service())?, count),
        other => {
            return Err(format!("OTEL_TRACES_EXPORTER is '{other}'; allowed: otlp, file, none"));
        }
    };
    processor.set_resource(&resource(worker));
    Ok(Some(processor))
}

fn build<E: SpanExporter + 'static>(exporter: E, count: &Arc<AtomicU64>) -> BatchSpanProcessor {
    // As the Python side does: whoever looks at a trace right after the call finds it whole.
    let mut config = BatchConfigBuilder::default();
    if variable("OTEL_BSP_SCHEDULE_DELAY").is_none() {
        config = config.with_scheduled_delay(DELAY);
    }
    BatchSpanProcessor::builder(Counted {
        exporter,
        count: Arc::clone(count),
    })
    .with_batch_config(config.build())
    .build()
}

fn resource(worker: &str) -> Resource {
    Resource::builder()
        .with_service_name(service())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", worker.to_owned()))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

fn service() -> String {
    variable("OTEL_SERVICE_NAME").unwrap_or_else(|| SERVICE.to_owned())
}

/// An environment variable; an empty one counts as unset, as OpenTelemetry wants.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Counts what was exported, so that dropped spans are known, and logs failures.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    count: Arc<AtomicU64>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        match &result {
            Ok(()) => drop(self.count.fetch_add(spans, Relaxed)),
            Err(error) => log(format_args!("cannot export {spans} spans: {error}")),
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
