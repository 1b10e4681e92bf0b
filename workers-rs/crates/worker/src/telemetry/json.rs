//! Spans as OTLP/JSON: ids are hex, 64-bit integers are text, enumerations are numbers.
//!
//! Written as text, as the Python side does: through protobuf's structures a span costs several times as much, beside the
//! work that it tells about.

use std::io::{Result, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

const IS_REMOTE_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A resource's attributes, for [`line`].
pub(super) fn resource(resource: &Resource) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    attributes(&mut out, resource.iter())?;
    Ok(out)
}

/// One `TracesData` object in one line: spans of one resource and one scope.
pub(super) fn line(resource: &[u8], scope: &InstrumentationScope, spans: &[SpanData]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(1024 * (1 + spans.len()));
    out.write_all(br#"{"resourceSpans":[{"resource":{"attributes":"#)?;
    out.write_all(resource)?;
    out.write_all(br#"},"scopeSpans":[{"scope":{"name":"#)?;
    quoted(&mut out, scope.name())?;
    out.write_all(br#","version":"#)?;
    quoted(&mut out, scope.version().unwrap_or_default())?;
    out.write_all(br#"},"spans":["#)?;
    each(&mut out, spans, span)?;
    out.write_all(b"]}]}]}\n")?;
    Ok(out)
}

fn span(out: &mut Vec<u8>, span: &SpanData) -> Result<()> {
    out.write_all(b"{")?;
    identity(out, &span.span_context)?;
    if span.parent_span_id != SpanId::INVALID {
        write!(out, r#","parentSpanId":"{}""#, span.parent_span_id)?;
    }
    flags(out, &span.span_context, span.parent_span_is_remote)?;
    out.write_all(br#","name":"#)?;
    quoted(out, &span.name)?;
    let kind = match span.span_kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    };
    let (start, end) = (nanoseconds(span.start_time), nanoseconds(span.end_time));
    write!(
        out,
        r#","kind":{kind},"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}","#
    )?;
    out.write_all(br#""attributes":"#)?;
    attributes(
        out,
        span.attributes.iter().map(|KeyValue { key, value, .. }| (key, value)),
    )?;
    if !span.links.links.is_empty() {
        out.write_all(br#","links":["#)?;
        each(out, &span.links.links, |out, link| {
            out.write_all(b"{")?;
            identity(out, &link.span_context)?;
            flags(out, &link.span_context, link.span_context.is_remote())?;
            out.write_all(b"}")
        })?;
        out.write_all(b"]")?;
    }
    let (code, message) = match &span.status {
        Status::Unset => (0, ""),
        Status::Ok => (1, ""),
        Status::Error { description } => (2, &**description),
    };
    write!(out, r#","status":{{"code":{code},"message":"#)?;
    quoted(out, message)?;
    out.write_all(b"}}")
}

fn identity(out: &mut Vec<u8>, context: &SpanContext) -> Result<()> {
    write!(
        out,
        r#""traceId":"{}","spanId":"{}""#,
        context.trace_id(),
        context.span_id()
    )?;
    let state = context.trace_state().header();
    if !state.is_empty() {
        out.write_all(br#","traceState":"#)?;
        quoted(out, &state)?;
    }
    Ok(())
}

fn flags(out: &mut Vec<u8>, context: &SpanContext, is_remote: bool) -> Result<()> {
    let remote = if is_remote { IS_REMOTE } else { 0 };
    let flags = u32::from(context.trace_flags().to_u8()) | IS_REMOTE_KNOWN | remote;
    write!(out, r#","flags":{flags}"#)
}

fn attributes<'a>(out: &mut Vec<u8>, attributes: impl Iterator<Item = (&'a Key, &'a Value)>) -> Result<()> {
    out.write_all(b"[")?;
    each(out, attributes, |out, (key, value)| {
        out.write_all(br#"{"key":"#)?;
        quoted(out, key.as_str())?;
        out.write_all(br#","value":"#)?;
        match value {
            Value::Bool(value) => write!(out, r#"{{"boolValue":{value}}}"#)?,
            Value::I64(value) => write!(out, r#"{{"intValue":"{value}"}}"#)?,
            // The worker's own spans have no others; what a resource may have besides is told as text.
            other => {
                out.write_all(br#"{"stringValue":"#)?;
                quoted(out, &other.as_str())?;
                out.write_all(b"}")?;
            }
        }
        out.write_all(b"}")
    })?;
    out.write_all(b"]")
}

/// Writes items with commas between them.
fn each<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T) -> Result<()>,
) -> Result<()> {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        write(out, item)?;
    }
    Ok(())
}

fn quoted(out: &mut Vec<u8>, text: &str) -> Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

fn nanoseconds(moment: SystemTime) -> u128 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::{Link, TraceFlags, TraceId, TraceState};
    use opentelemetry_proto::tonic::trace::v1::TracesData;
    use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn example(error: Option<&'static str>, links: &[SpanContext]) -> SpanData {
        let state: TraceState = "vendor=\"1".parse().unwrap();
        let mut span_links = SpanLinks::default();
        span_links.links.extend(links.iter().cloned().map(Link::with_context));
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(7 << 90),
                SpanId::from(3),
                TraceFlags::SAMPLED,
                false,
                state,
            ),
            parent_span_id: SpanId::from(u64::MAX),
            parent_span_is_remote: true,
            span_kind: SpanKind::Consumer,
            name: "exécute \"it\"".into(),
            start_time: UNIX_EPOCH + Duration::from_nanos(1_790_000_000_000_000_001),
            end_time: UNIX_EPOCH + Duration::from_nanos(1_790_000_000_000_000_002),
            attributes: vec![
                KeyValue::new("npufleet.rows", i64::MIN),
                KeyValue::new("text", "a\nb\u{1}"),
                KeyValue::new("yes", true),
            ],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: span_links,
            status: error.map_or(Status::Unset, Status::error),
            instrumentation_scope: InstrumentationScope::builder("npufleet").with_version("1.2").build(),
        }
    }

    #[test]
    fn a_line_means_what_opentelemetrys_own_encoder_says() {
        let about = Resource::builder_empty()
            .with_service_name("worker")
            .with_attribute(KeyValue::new("process.pid", 12))
            .build();
        let other = SpanContext::new(
            TraceId::from(1),
            SpanId::from(2),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let spans = vec![
            example(None, &[]),
            example(Some("failed: \"x\""), &[other.clone(), other]),
        ];
        let written = line(&resource(&about).unwrap(), &spans[0].instrumentation_scope, &spans).unwrap();
        let read: TracesData = serde_json::from_slice(&written).unwrap();
        let expected = group_spans_by_resource_and_scope(spans, &(&about).into());
        assert_eq!(read.resource_spans, expected);
    }
}
