"""A worker's spans: siblings below the caller's span, written when the request is done.

Nothing is kept for a request that carries no sampled `traceparent`.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from npufleet.telemetry import sampling, setup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.trace import SpanContext, Tracer

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 0x01
_TRACESTATE_LIMIT: Final = 512
_EARLY_LIMIT: Final = 512
"""Requests whose spans are kept while OpenTelemetry is still being imported."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The span that a request came from, as its headers say it; `state` is the text of `tracestate`."""

    trace_id: int
    span_id: int
    flags: int
    state: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One span of a request; times are unix nanoseconds, `links` are the callers of others in the same batch."""

    name: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    links: Sequence[Caller] = ()
    error_kind: str | None = None


class WorkerTracing:
    """Makes the spans of one worker; `service` is its name unless OTEL_SERVICE_NAME says otherwise."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._on = not sampling.head().off
        self._tracer: Tracer | None = None
        self._early: deque[tuple[Caller, Sequence[Step]]] = deque(maxlen=_EARLY_LIMIT)

    def load(self) -> None:
        """Import OpenTelemetry and open the exporter, unless tracing is off; takes a good part of a second.

        Requests that are done meanwhile are traced afterwards.
        """
        if self._on:
            self._tracer = setup.tracer(self._service)
            self._on = self._tracer is not None
            with contextlib.suppress(IndexError):  # none is left; a worker that ends may be at it too
                while True:
                    self.write(*self._early.popleft())

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Return the caller's span when the request is traced; a header that is malformed counts as none."""
        return caller_of(headers) if self._on else None

    def write(self, caller: Caller, steps: Sequence[Step]) -> None:
        """Write the spans of one finished request."""
        if self._tracer is None:
            self._early.append((caller, steps))
            return
        from opentelemetry import trace
        from opentelemetry.context import Context

        above = trace.set_span_in_context(trace.NonRecordingSpan(context_of(caller)), Context())
        for step in steps:
            span = self._tracer.start_span(
                step.name,
                context=above,
                kind=trace.SpanKind.CONSUMER if step.name == "receive" else trace.SpanKind.INTERNAL,
                attributes=step.attributes,
                links=[trace.Link(context_of(link)) for link in step.links],
                start_time=step.start,
            )
            if step.error_kind:
                span.set_attribute("error.type", step.error_kind)
                span.set_status(trace.Status(trace.StatusCode.ERROR, step.error_kind))
            span.end(end_time=step.end)

    def close(self) -> None:
        """Send what is queued, also of requests that were faster than `load`; waits for no collector that hangs."""
        if self._early:
            self.load()
        setup.shutdown()


def caller_of(headers: Mapping[str, str]) -> Caller | None:
    """Return the span that a message came from when it is traced; a header that is malformed counts as none."""
    matched = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    if matched is None:
        return None
    state = headers.get("tracestate", "")
    found = Caller(
        trace_id=int(matched[1], 16),
        span_id=int(matched[2], 16),
        flags=int(matched[3], 16),
        state=state if len(state) <= _TRACESTATE_LIMIT else "",
    )
    return found if found.flags & _SAMPLED and found.trace_id and found.span_id else None


def context_of(caller: Caller) -> SpanContext:
    """Return a caller's span as OpenTelemetry has it."""
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    state = TraceState.from_header([caller.state]) if caller.state else None
    return SpanContext(caller.trace_id, caller.span_id, True, TraceFlags(caller.flags), state)
