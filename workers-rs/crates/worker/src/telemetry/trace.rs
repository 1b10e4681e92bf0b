//! The trace that a request belongs to.

use std::str::FromStr as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::request::Now;

/// Longer trace states are dropped, as the specification allows.
const MAX_STATE: usize = 512;

/// A sampled trace, with the caller's span.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(super) id: TraceId,
    pub(super) parent: SpanId,
    pub(super) state: TraceState,
    /// Ties the monotonic clock to the wall clock.
    anchor: (Instant, SystemTime),
}

impl Trace {
    /// Reads `traceparent`; nothing when it is malformed or not sampled, which is no error of the request.
    pub(crate) fn parse(traceparent: &str, tracestate: Option<&str>, now: &Now) -> Option<Box<Self>> {
        let bytes = traceparent.as_bytes();
        // 00-<32 hex>-<16 hex>-<2 hex>; a later version may append fields.
        if !traceparent.is_ascii() || bytes.len() < 55 || [bytes[2], bytes[35], bytes[52]] != *b"---" {
            return None;
        }
        let (first_version, longer) = (&bytes[..2] == b"00", bytes.len() > 55);
        if &bytes[..2] == b"ff" || (longer && (first_version || bytes[55] != b'-')) {
            return None;
        }
        if u8::from_str_radix(&traceparent[53..55], 16).ok()? & 1 == 0 {
            return None;
        }
        let id = TraceId::from_hex(&traceparent[3..35])
            .ok()
            .filter(|id| *id != TraceId::INVALID)?;
        let parent = SpanId::from_hex(&traceparent[36..52])
            .ok()
            .filter(|id| *id != SpanId::INVALID)?;
        let state = tracestate.filter(|state| state.len() <= MAX_STATE);
        let state = state
            .and_then(|state| TraceState::from_str(state).ok())
            .unwrap_or_default();
        Some(Box::new(Self {
            id,
            parent,
            state,
            anchor: (now.instant, UNIX_EPOCH + now.unix),
        }))
    }

    /// The caller's span, for links.
    pub(crate) fn parent_context(&self) -> SpanContext {
        SpanContext::new(self.id, self.parent, TraceFlags::SAMPLED, true, self.state.clone())
    }

    /// A moment on the wall clock.
    pub(super) fn at(&self, instant: Instant) -> SystemTime {
        let (anchor, wall) = self.anchor;
        let after = instant.checked_duration_since(anchor);
        after.map_or_else(
            || wall - anchor.duration_since(instant).min(Duration::from_secs(60)),
            |after| wall + after,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_sampled_parent_is_read() {
        let trace = Trace::parse(SAMPLED, Some("vendor=1"), &Now::new()).unwrap();
        assert_eq!(trace.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent.to_string(), "00f067aa0ba902b7");
        assert_eq!(trace.state.header(), "vendor=1");
        assert!(trace.parent_context().is_remote());
    }

    #[test]
    fn unsampled_and_malformed_parents_cost_nothing() {
        let now = Now::new();
        for text in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
            "",
        ] {
            assert!(Trace::parse(text, None, &now).is_none(), "{text}");
        }
        assert!(Trace::parse(&format!("01{}-more", &SAMPLED[2..]), None, &now).is_some());
    }
}
