"""Writes spans as OTLP/JSON lines, as the OpenTelemetry file exporter specification has them.

Every line is one TracesData object; ids are hex, 64-bit integers are text, enumerations are numbers. Written directly
and not through protobuf, which is ten times slower and would have to be imported.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext

ROTATE_BYTES: Final = 16 * 1024 * 1024
KEEP_FILES: Final = 200

_log = logging.getLogger(__name__)
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


class FileSpanExporter(SpanExporter):
    """Appends to `<service>-<pid>.jsonl` (mode 0600) in `directory`.

    A file that reaches `rotate_bytes` becomes `<service>-<pid>.1.jsonl`, replacing the one before it. Old files of
    processes that ended are removed when there are more than 200. Raises OSError when the folder cannot be made.
    """

    def __init__(self, directory: Path, service: str, rotate_bytes: int = ROTATE_BYTES) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._rotate_bytes = rotate_bytes
        stem = f"{re.sub(r'[^A-Za-z0-9._-]', '_', service)}-{os.getpid()}"
        self.path = directory / f"{stem}.jsonl"
        self._rotated = directory / f"{stem}.1.jsonl"
        self._descriptor: int | None = None
        self._remove_old_files()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one batch as one line; a full disk or a lost folder is reported and costs this batch only."""
        line = json.dumps(encode(spans), separators=(",", ":")).encode() + b"\n"
        try:
            self._write(line)
        except OSError as error:
            _log.warning("spans could not be written to %s: %s", self.path, error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is buffered here."""
        return True

    def _write(self, line: bytes) -> None:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
        size = os.fstat(self._descriptor).st_size
        if size and size + len(line) > self._rotate_bytes:
            self.shutdown()
            self.path.replace(self._rotated)
            self._write(line)
            return
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _remove_old_files(self) -> None:
        files = []
        for path in self._directory.glob("*.jsonl"):
            pid = re.search(r"-(\d+)(\.\w+)?\.jsonl$", path.name)
            if pid and not os.path.exists(f"/proc/{pid[1]}"):  # noqa: PTH110 - a process, not a file
                files.append((path.stat().st_mtime, path))
        for _, path in sorted(files, reverse=True)[KEEP_FILES:]:
            path.unlink(missing_ok=True)


def encode(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Return spans as one TracesData object, grouped by resource and instrumentation scope."""
    resources = []
    for resource, of_resource in groupby(spans, key=lambda span: span.resource):
        scopes = [
            {"scope": _scope(scope), "spans": [_span(span) for span in of_scope]}
            for scope, of_scope in groupby(of_resource, key=lambda span: span.instrumentation_scope)
        ]
        resources.append({"resource": _resource(resource), "scopeSpans": scopes})
    return {"resourceSpans": resources}


def _resource(resource: Resource) -> dict[str, Any]:
    return {"attributes": _attributes(resource.attributes)}


def _scope(scope: InstrumentationScope | None) -> dict[str, Any]:
    return {} if scope is None else {"name": scope.name, "version": scope.version or ""}


def _span(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    encoded: dict[str, Any] = {
        **_ids(context),
        "flags": _flags(span.parent),
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": span.status.status_code.value, "message": span.status.description or ""},
    }
    if context is not None and context.trace_state:
        encoded["traceState"] = context.trace_state.to_header()
    if span.parent is not None:
        encoded["parentSpanId"] = f"{span.parent.span_id:016x}"
    if span.events:
        encoded["events"] = [_event(event) for event in span.events]
    if span.links:
        encoded["links"] = [_link(link) for link in span.links]
    return encoded


def _ids(context: SpanContext | None) -> dict[str, str]:
    return {} if context is None else {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}


def _flags(context: SpanContext | None) -> int:
    return _IS_REMOTE_KNOWN | _IS_REMOTE if context is not None and context.is_remote else _IS_REMOTE_KNOWN


def _event(event: Event) -> dict[str, Any]:
    return {
        "timeUnixNano": str(event.timestamp),
        "name": event.name,
        "attributes": _attributes(event.attributes or {}),
    }


def _link(link: Link) -> dict[str, Any]:
    return {**_ids(link.context), "attributes": _attributes(link.attributes or {}), "flags": _flags(link.context)}


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        # JSON has no numbers for these three; protobuf's JSON mapping writes them as text.
        return {"doubleValue": value if math.isfinite(value) else _NOT_FINITE[str(value)]}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
