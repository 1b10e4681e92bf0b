"""Spans as OTLP/JSON: one TracesData object; ids are hex, 64-bit integers are text, enumerations are numbers.

Written as text, piece by piece: through protobuf it would be ten times slower, through a tree of dictionaries three
times, and whoever encodes keeps the program's other threads waiting.
"""

from __future__ import annotations

import base64
import math
from functools import lru_cache
from itertools import groupby
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import Event
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext

    from npufleet.telemetry.processor import Deferred

_KINDS: Final = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_NOT_FINITE: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_IS_REMOTE_KNOWN: Final = 0x100
_IS_REMOTE: Final = 0x200
_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 200


def encode(ended: Sequence[ReadableSpan | Deferred]) -> str:
    """Return spans as the text of one TracesData object, grouped by resource and instrumentation scope."""
    resources = []
    for resource, of_resource in groupby(ended, key=lambda each: each.resource):
        scopes = [
            f'{{"scope":{_scope(scope)},"spans":[{",".join(map(_text, of_scope))}]}}'
            for scope, of_scope in groupby(of_resource, key=lambda each: each.instrumentation_scope)
        ]
        attributes = _attributes(resource.attributes)
        resources.append(f'{{"resource":{{"attributes":{attributes}}},"scopeSpans":[{",".join(scopes)}]}}')
    return f'{{"resourceSpans":[{",".join(resources)}]}}'


def spans(of: Sequence[ReadableSpan]) -> str:
    """Return spans as text, with commas between them."""
    return ",".join(map(_span, of))


def _text(ended: ReadableSpan | Deferred) -> str:
    return _span(ended) if isinstance(ended, ReadableSpan) else ended.text()


def _scope(scope: InstrumentationScope | None) -> str:
    if scope is None:
        return "{}"
    return f'{{"name":{quoted(scope.name)},"version":{quoted(scope.version or "")}}}'


def _span(span: ReadableSpan) -> str:
    context, parent, status = span.get_span_context(), span.parent, span.status
    more = ""
    if context is not None and context.trace_state:
        more += f',"traceState":{quoted(context.trace_state.to_header())}'
    if parent is not None:
        more += f',"parentSpanId":"{parent.span_id:016x}"'
    if span.events:
        more += f',"events":[{",".join(map(_event, span.events))}]'
    if span.links:
        more += f',"links":[{",".join(map(_link, span.links))}]'
    return (
        f'{{{_ids(context)}"flags":{_flags(parent)},"name":{quoted(span.name)},"kind":{_KINDS[span.kind]},'
        f'"startTimeUnixNano":"{span.start_time}","endTimeUnixNano":"{span.end_time}",'
        f'"attributes":{_attributes(span.attributes or {})},'
        f'"status":{{"code":{status.status_code.value},"message":{quoted(status.description or "")}}}{more}}}'
    )


def _ids(context: SpanContext | None) -> str:
    return "" if context is None else f'"traceId":"{context.trace_id:032x}","spanId":"{context.span_id:016x}",'


def _flags(context: SpanContext | None) -> int:
    return _IS_REMOTE_KNOWN | _IS_REMOTE if context is not None and context.is_remote else _IS_REMOTE_KNOWN


def _event(event: Event) -> str:
    attributes = _attributes(event.attributes or {})
    return f'{{"timeUnixNano":"{event.timestamp}","name":{quoted(event.name)},"attributes":{attributes}}}'


def _link(link: Link) -> str:
    return f'{{{_ids(link.context)}"attributes":{_attributes(link.attributes or {})},"flags":{_flags(link.context)}}}'


def _attributes(attributes: Mapping[str, object]) -> str:
    return f"[{','.join([_attribute(key, value) for key, value in attributes.items()])}]"


def _attribute(key: str, value: object) -> str:
    if type(value) is str and len(value) <= _LONGEST_REMEMBERED:
        return _text_attribute(key, value)
    return f'{{"key":{quoted(key)},"value":{_value(value)}}}'


@lru_cache(_REMEMBERED)
def _text_attribute(key: str, value: str) -> str:
    """The few words that most attributes hold come again and again."""
    return f'{{"key":{quoted(key)},"value":{_value(value)}}}'


def _value(value: object) -> str:
    if isinstance(value, bool):
        return f'{{"boolValue":{"true" if value else "false"}}}'
    if isinstance(value, str):
        return f'{{"stringValue":{quoted(value)}}}'
    if isinstance(value, int):
        return f'{{"intValue":"{value}"}}'
    if isinstance(value, float):
        # JSON has no numbers for the other three; protobuf's JSON mapping writes them as text.
        return f'{{"doubleValue":{value if math.isfinite(value) else quoted(_NOT_FINITE[str(value)])}}}'
    if isinstance(value, bytes):
        return f'{{"bytesValue":"{base64.b64encode(value).decode()}"}}'
    if isinstance(value, (list, tuple)):
        return f'{{"arrayValue":{{"values":[{",".join(map(_value, value))}]}}}}'
    return f'{{"stringValue":{quoted(str(value))}}}'
