"""Finished spans, handed straight to the processor.

A tracer guards a span against everything that may be done to it while it is open, and puts it into the context of the
code below it. The SDK's spans are known as a whole when they end and nothing runs below them: what a tracer does
around one costs ten times what the span itself does.
"""

from __future__ import annotations

from random import getrandbits
from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from npufleet import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

    from npufleet.telemetry.processor import CountingProcessor, Deferred

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)


class Recorder:
    """Makes spans of one resource."""

    def __init__(self, resource: Resource, processor: CountingProcessor) -> None:
        self.resource = resource
        self._processor = processor
        self.scope = InstrumentationScope("npufleet", __version__)
        self.sampled = self.context(None)
        """The identity of no span in particular, for what asks whether one is sampled."""

    @staticmethod
    def context(parent: SpanContext | None, trace_id: int = 0, span_id: int = 0) -> SpanContext:
        """Return the identity of a sampled span: in its parent's trace, or in one of its own; new ids for zeros."""
        span_id = span_id or getrandbits(64) or 1
        if parent is None:
            return SpanContext(trace_id or getrandbits(128) or 1, span_id, is_remote=False, trace_flags=_SAMPLED)
        return SpanContext(parent.trace_id, span_id, False, _SAMPLED, parent.trace_state)

    def span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times: tuple[int, int],
        attributes: Mapping[str, str],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str | None = None,
    ) -> ReadableSpan:
        """Return the span between two `times` (unix nanoseconds); `error` makes it a failed one."""
        return ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self.resource,
            attributes=attributes,
            kind=kind,
            status=Status(StatusCode.ERROR, error) if error else _UNSET,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self.scope,
        )

    def record(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        start: int,
        attributes: Mapping[str, str],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str | None = None,
    ) -> None:
        """Hand over a span that began at `start` (unix nanoseconds) and ends now."""
        span = self.span(name, context, parent, (start, time_ns()), attributes, kind=kind, error=error)
        self._processor.on_end(span)

    def defer(self, spans: Deferred) -> None:
        """Hand over what will be made into spans by whoever exports them."""
        self._processor.on_end(spans)
