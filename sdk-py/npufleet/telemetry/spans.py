"""The SDK's spans: `call|submit <operation>` from sending to the answer, and its child `result` while decoding it."""

from __future__ import annotations

from contextlib import contextmanager
from random import random
from sys import modules
from typing import TYPE_CHECKING, Final

from npufleet.telemetry import sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer

SERVICE: Final = "npufleet-sdk"


class CallSpan:
    """The open span of one sampled call; `headers` go with the request, `trace_id` is 32 hex digits."""

    __slots__ = ("_context", "_span", "_tracer", "headers", "trace_id")

    def __init__(
        self, tracer: Tracer, operation: str, subject: str, lane: str, parent: SpanContext | None, verb: str = "call"
    ) -> None:
        from opentelemetry import trace

        self._tracer = tracer
        self._span: Span = tracer.start_span(
            f"{verb} {operation}",
            context=_context_of(parent),
            kind=trace.SpanKind.PRODUCER,
            attributes={
                "messaging.system": "nats",
                "messaging.destination.name": subject,
                "messaging.operation.name": verb,
                "npufleet.operation": operation,
                "npufleet.lane": lane,
            },
        )
        self._context: Context = trace.set_span_in_context(self._span, _empty())
        self.headers: dict[str, str] = headers_of(self._span.get_span_context())
        self.trace_id = f"{self._span.get_span_context().trace_id:032x}"

    def end(
        self,
        error_kind: str | None = None,
        fallback_reason: str | None = None,
        engine: str | None = None,
        device: str | None = None,
    ) -> None:
        """Close the span with what the reply said; an error kind makes it a failed one."""
        from opentelemetry.trace import Status, StatusCode

        span = self._span
        for name, value in (("fallback.reason", fallback_reason), ("engine", engine), ("device", device)):
            if value:
                span.set_attribute(f"npufleet.{name}", value)
        if error_kind:
            span.set_attribute("error.type", error_kind)
            span.set_status(Status(StatusCode.ERROR, error_kind))
        span.end()

    @contextmanager
    def result(self) -> Iterator[None]:
        """Time the decoding of the reply as the child span `result`."""
        with self._tracer.start_as_current_span("result", context=self._context):
            yield


def start_call(operation: str, subject: str, lane: str, verb: str = "call") -> CallSpan | None:
    """Open the span of a call (or of what `verb` says), or return None when it is not traced.

    The first traced call of a process needs OpenTelemetry imported, which takes a good part of a second: where only
    a share of the calls is traced, that happens on a thread and the calls meanwhile are not traced.
    """
    head = sampling.current or sampling.head()
    # The common case first and by hand: this runs for every call, and function calls are most of what it costs.
    read = _read_context
    if read is None and "opentelemetry.context" in modules:
        read = _find_context()
    if read is None or not read():
        if random() >= head.ratio:  # noqa: S311 - a sampling decision, not a secret
            return None
        parent = None
    else:
        decided = head.decide()
        if decided is False:
            return None
        parent = decided
    from npufleet.telemetry import setup

    tracer = setup.tracer(SERVICE, wait=parent is not None or head.ratio >= 1.0)
    if tracer is None:
        return None
    return CallSpan(tracer, operation, subject, lane, parent, verb)


_read_context: Callable[[], object] | None = None


def _find_context() -> Callable[[], object] | None:
    global _read_context
    _read_context = sampling.context_reader()
    return _read_context


def headers_of(context: SpanContext) -> dict[str, str]:
    """Return the W3C headers that carry a span's context to the next hop."""
    flags = int(context.trace_flags) & 0xFF
    headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"}
    if context.trace_state:
        headers["tracestate"] = context.trace_state.to_header()
    return headers


def _context_of(parent: SpanContext | None) -> Context:
    from opentelemetry import trace

    return trace.set_span_in_context(trace.NonRecordingSpan(parent), _empty()) if parent else _empty()


def _empty() -> Context:
    # Not the caller's context: whether its active span is the parent was decided by the sampler.
    from opentelemetry.context import Context

    return Context()
