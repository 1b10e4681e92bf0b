"""The SDK's spans: `call|submit <operation>` from sending to the answer, and its child `result` while decoding it."""

from __future__ import annotations

from contextlib import contextmanager
from random import random
from sys import modules
from time import time_ns
from typing import TYPE_CHECKING, Final

from npufleet.telemetry import sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.trace import SpanContext

    from npufleet.telemetry.recorder import Recorder

SERVICE: Final = "npufleet-sdk"


class CallSpan:
    """The open span of one sampled call; `headers` go with the request, `trace_id` is 32 hex digits."""

    __slots__ = ("_attributes", "_context", "_name", "_parent", "_recorder", "_start", "headers", "trace_id")

    def __init__(
        self,
        recorder: Recorder,
        operation: str,
        subject: str,
        lane: str,
        parent: SpanContext | None,
        verb: str = "call",
    ) -> None:
        self._start = time_ns()
        self._recorder = recorder
        self._name = f"{verb} {operation}"
        self._attributes = {
            "messaging.system": "nats",
            "messaging.destination.name": subject,
            "messaging.operation.name": verb,
            "npufleet.operation": operation,
            "npufleet.lane": lane,
        }
        self._parent = parent
        self._context = recorder.context(parent)
        self.headers: dict[str, str] = headers_of(self._context)
        self.trace_id = f"{self._context.trace_id:032x}"

    def end(
        self,
        error_kind: str | None = None,
        fallback_reason: str | None = None,
        engine: str | None = None,
        device: str | None = None,
        placement: str | None = None,
    ) -> None:
        """Close the span with what the reply said; an error kind makes it a failed one."""
        from opentelemetry.trace import SpanKind

        attributes = self._attributes
        for name, value in (
            ("fallback.reason", fallback_reason),
            ("engine", engine),
            ("device", device),
            ("payload.placement", placement),
        ):
            if value:
                attributes[f"npufleet.{name}"] = value
        if error_kind:
            attributes["error.type"] = error_kind
        self._recorder.record(
            self._name,
            self._context,
            self._parent,
            self._start,
            attributes,
            kind=SpanKind.PRODUCER,
            error=error_kind,
        )

    @contextmanager
    def result(self) -> Iterator[None]:
        """Time the decoding of the reply as the child span `result`."""
        start = time_ns()
        error: str | None = None
        try:
            yield
        except Exception as failed:
            error = getattr(failed, "kind", type(failed).__name__)
            raise
        finally:
            self._recorder.record(
                "result", self._recorder.context(self._context), self._context, start, {}, error=error
            )


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

    recorder = setup.recorder(SERVICE, wait=parent is not None or head.ratio >= 1.0)
    if recorder is None:
        return None
    return CallSpan(recorder, operation, subject, lane, parent, verb)


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
