"""A worker's spans: siblings below the caller's span, written when the request is done.

Nothing is kept for a request that carries no sampled `traceparent`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from npufleet.telemetry import sampling, setup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.trace import SpanContext, Tracer

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 0x01
_TRACESTATE_LIMIT: Final = 512


@dataclass(frozen=True, slots=True)
class Step:
    """One span of a request; times are unix nanoseconds, `links` are other requests of the same batch."""

    name: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    links: Sequence[SpanContext] = ()
    error_kind: str | None = None


class WorkerTracing:
    """Makes the spans of one worker; `service` is `npufleet-worker-python` unless OTEL_SERVICE_NAME says otherwise."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._tracer: Tracer | None = None

    def start(self) -> None:
        """Import OpenTelemetry and open the exporter, unless tracing is off; takes a good part of a second."""
        if not sampling.head().off:
            self._tracer = setup.tracer(self._service)

    def parent(self, headers: Mapping[str, str] | None) -> SpanContext | None:
        """Return the caller's span when the request is traced; a header that is malformed counts as none."""
        if self._tracer is None or not headers or "traceparent" not in headers:
            return None
        matched = _TRACEPARENT.fullmatch(headers["traceparent"])
        if matched is None or not int(matched[3], 16) & _SAMPLED:
            return None
        from opentelemetry.trace import SpanContext, TraceFlags, TraceState

        state = headers.get("tracestate", "")
        context = SpanContext(
            trace_id=int(matched[1], 16),
            span_id=int(matched[2], 16),
            is_remote=True,
            trace_flags=TraceFlags(int(matched[3], 16)),
            trace_state=TraceState.from_header([state]) if 0 < len(state) <= _TRACESTATE_LIMIT else None,
        )
        return context if context.is_valid else None

    def write(self, parent: SpanContext, steps: Sequence[Step]) -> None:
        """Write the spans of one finished request."""
        if self._tracer is None:
            return
        from opentelemetry import trace
        from opentelemetry.context import Context

        above = trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
        for step in steps:
            span = self._tracer.start_span(
                step.name,
                context=above,
                kind=trace.SpanKind.CONSUMER if step.name == "receive" else trace.SpanKind.INTERNAL,
                attributes=step.attributes,
                links=[trace.Link(link) for link in step.links],
                start_time=step.start,
            )
            if step.error_kind:
                span.set_attribute("error.type", step.error_kind)
                span.set_status(trace.Status(trace.StatusCode.ERROR, step.error_kind))
            span.end(end_time=step.end)

    @staticmethod
    def dropped() -> int:
        """Return how many spans of this process were never exported."""
        return setup.dropped_spans()

    @staticmethod
    def close() -> None:
        """Send what is queued; does not wait for a collector that hangs."""
        setup.shutdown()
