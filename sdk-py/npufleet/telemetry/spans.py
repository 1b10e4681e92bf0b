"""The SDK's spans: `call|submit <operation>` from sending to the answer, and its child `result` while decoding it."""

from __future__ import annotations

from random import random
from sys import modules
from time import time_ns
from typing import TYPE_CHECKING, Final

from npufleet.telemetry import sampling

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from npufleet.result import Result
    from npufleet.telemetry.recorder import Recorder

SERVICE: Final = "npufleet-sdk"
_OF_REPLY: Final = ("npufleet.fallback.reason", "npufleet.engine", "npufleet.device", "npufleet.payload.placement")


class CallSpan:
    """The open span of one sampled call; `headers` go with the request, `trace_id` is 32 hex digits.

    While calls are made it keeps what they leave anyway: a traced call may come between thousands that are not, and
    what it costs keeps all of them waiting. The spans are made of that when they are exported.
    """

    __slots__ = (
        "_end",
        "_error_kind",
        "_lane",
        "_operation",
        "_parent",
        "_recorder",
        "_reply",
        "_result",
        "_start",
        "_subject",
        "_verb",
        "context",
        "headers",
        "trace_id",
    )

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
        self._operation = operation
        self._subject = subject
        self._lane = lane
        self._parent = parent
        self._verb = verb
        self._result: tuple[tuple[int, int], str | None] | None = None
        self.context = recorder.context(parent)
        self.headers: dict[str, str] = headers_of(self.context)
        self.trace_id = self.headers["traceparent"][3:35]

    def end(
        self,
        error_kind: str | None = None,
        fallback_reason: str | None = None,
        engine: str | None = None,
        device: str | None = None,
        placement: str | None = None,
    ) -> None:
        """Close the span with what the reply said; an error kind makes it a failed one."""
        self._end = time_ns()
        self._error_kind = error_kind
        self._reply = (fallback_reason, engine, device, placement)
        self._recorder.defer(self)

    def decode(self, result: Result) -> None:
        """Read the reply's arrays, timed as the child span `result`; raises what that raises."""
        start, error = time_ns(), None
        try:
            result.tensors()
        except Exception as failed:
            error = getattr(failed, "kind", type(failed).__name__)
            raise
        finally:
            self._result = ((start, time_ns()), error)

    def spans(self) -> list[ReadableSpan]:
        """Return the span and, where a reply was decoded, its child before it; for whoever exports them."""
        from opentelemetry.trace import SpanKind

        make, own = self._recorder.span, self.context
        attributes = {
            "messaging.system": "nats",
            "messaging.destination.name": self._subject,
            "messaging.operation.name": self._verb,
            "npufleet.operation": self._operation,
            "npufleet.lane": self._lane,
        }
        attributes |= {name: value for name, value in zip(_OF_REPLY, self._reply, strict=True) if value}
        if self._error_kind:
            attributes["error.type"] = self._error_kind
        name, times = f"{self._verb} {self._operation}", (self._start, self._end)
        call = make(name, own, self._parent, times, attributes, kind=SpanKind.PRODUCER, error=self._error_kind)
        if self._result is None:
            return [call]
        times, error = self._result
        return [make("result", self._recorder.context(own), own, times, {}, error=error), call]


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
    headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
    if context.trace_state:
        headers["tracestate"] = context.trace_state.to_header()
    return headers
