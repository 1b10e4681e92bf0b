"""A message that is handled in this process: a span of its trace, below which the handler's own calls come."""

from __future__ import annotations

from contextlib import contextmanager
from time import time_ns
from typing import TYPE_CHECKING

from npufleet.telemetry import sampling, setup
from npufleet.telemetry.spans import headers_of
from npufleet.telemetry.worker import caller_of, context_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def hop(service: str, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Time what is done with a message as the span `name`, if the message is traced; costs nothing if it is not.

    Gives the headers that continue the trace with what is sent on.
    """
    caller = None if sampling.head().off else caller_of(headers)
    recorder = None if caller is None else setup.recorder(service)
    if caller is None or recorder is None:
        yield {}
        return
    from opentelemetry import context, trace

    parent = context_of(caller)
    own = recorder.context(parent)
    start = time_ns()
    error: str | None = None
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(own)))
    try:
        yield headers_of(own)
    except BaseException as failed:
        error = getattr(failed, "kind", type(failed).__name__)
        raise
    finally:
        context.detach(token)
        recorder.record(name, own, parent, start, attributes, kind=trace.SpanKind.CONSUMER, error=error)
