"""The SDK's spans: `call|submit <operation>` from sending to the answer, and its child `result` while decoding it."""

from __future__ import annotations

import re
from functools import lru_cache
from random import getrandbits, random
from sys import modules
from time import time_ns
from typing import TYPE_CHECKING, Final

from npufleet.telemetry import sampling, setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, TraceState

    from npufleet.result import Result
    from npufleet.telemetry.recorder import Recorder

SERVICE: Final = "npufleet-sdk"
REMEMBERED: Final = 256
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
        "_span_id",
        "_start",
        "_subject",
        "_verb",
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
        self._span_id = getrandbits(64) or 1  # zero means "none"
        self.trace_id = f"{(getrandbits(128) or 1) if parent is None else parent.trace_id:032x}"
        self.headers = _headers(self.trace_id, self._span_id, 1, None if parent is None else parent.trace_state)

    @property
    def context(self) -> SpanContext:
        """What the processor asks whether it is sampled."""
        return self._recorder.sampled

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
        self._reply: _Reply = (fallback_reason, engine, device, placement)
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

    @property
    def resource(self) -> Resource:
        """Whose spans they are."""
        return self._recorder.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """What made them."""
        return self._recorder.scope

    def text(self) -> str:
        """Return the spans as OTLP/JSON: what `otlp_json` wrote for a call like it, with other ids and times."""
        from npufleet.telemetry import otlp_json

        if self._parent is not None or self._error_kind or self._result is None or self._result[1]:
            return otlp_json.spans(self.spans())
        (start, end), _ = self._result
        template = _template(self._recorder, self._verb, self._operation, self._subject, self._lane, self._reply)
        own, trace = f"{self._span_id:016x}", self.trace_id
        child = (trace, f"{getrandbits(64) or 1:016x}", start, end, own)
        return template % (*child, trace, own, self._start, self._end)

    def spans(self, child_id: int = 0) -> list[ReadableSpan]:
        """Return the span and, where a reply was decoded, its child before it; for whoever exports them."""
        from opentelemetry.trace import SpanKind

        make = self._recorder.span
        own = self._recorder.context(self._parent, int(self.trace_id, 16), self._span_id)
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
        child = self._recorder.context(own, span_id=child_id)
        return [make("result", child, own, times, {}, error=error), call]


_Reply = tuple[str | None, str | None, str | None, str | None]


@lru_cache(REMEMBERED)
def _template(recorder: Recorder, verb: str, operation: str, subject: str, lane: str, reply: _Reply) -> str:
    """Return the text of a call's spans with gaps for ids and times, made of an example that is recognised by its own.

    Most calls of a program are alike, and writing one anew costs five times as much as filling in its text.
    """
    from npufleet.telemetry import otlp_json

    example = CallSpan(recorder, operation, subject, lane, None, verb)
    example.trace_id, example._span_id, child_id = "a" * 32, 0xB << 60, 0xC << 60
    example._start, example._end, times = 10**18, 10**18 + 1, (10**18 + 2, 10**18 + 3)
    example._error_kind, example._reply, example._result = None, reply, (times, None)
    text = otlp_json.spans(example.spans(child_id)).replace("%", "%%")
    return re.sub(r"a{32}|b0{15}|c0{15}|10{17}[0-3]", "%s", text)


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
    return _headers(f"{context.trace_id:032x}", context.span_id, context.trace_flags, context.trace_state)


def _headers(trace_id: str, span_id: int, flags: int, state: TraceState | None) -> dict[str, str]:
    headers = {"traceparent": f"00-{trace_id}-{span_id:016x}-{flags:02x}"}
    if state:
        headers["tracestate"] = state.to_header()
    return headers
