"""Reads the local trace files and shows one trace as a tree with times."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from npufleet.telemetry.setup import trace_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.tree import Tree

TAIL_LINES: Final = 64
"""How far back in each file the newest trace is looked for."""

_log = logging.getLogger(__name__)
_PREFIX: Final = re.compile(r"[0-9a-f]{4,32}")
_STATUS: Final = {0: "unset", 1: "ok", 2: "error"}


@dataclass(frozen=True, slots=True)
class Span:
    """One timed piece of work; `id` and `parent` are span ids in hex, `start` is unix nanoseconds."""

    trace_id: str
    id: str
    service: str
    name: str
    parent: str | None
    start: int
    microseconds: float
    attributes: dict[str, Any]
    links: tuple[str, ...]
    status: str


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans of one trace that the files hold, in order of their start."""

    trace_id: str
    spans: tuple[Span, ...]

    def children(self, span: Span | None) -> list[Span]:
        """Return the spans right below one, or those without a known parent."""
        if span is not None:
            return [child for child in self.spans if child.parent == span.id]
        known = {each.id for each in self.spans}
        return [each for each in self.spans if each.parent not in known]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the spans as plain values for JSON; `parent` is the parent's name, `parent_id` its id."""
        names = {span.id: span.name for span in self.spans}
        return [
            {
                "service": span.service,
                "name": span.name,
                "parent": names.get(span.parent or ""),
                "start": datetime.fromtimestamp(span.start / 1e9, UTC).isoformat(),
                "microseconds": span.microseconds,
                "status": span.status,
                "attributes": span.attributes,
                "id": span.id,
                "parent_id": span.parent,
                "links": list(span.links),
            }
            for span in self.spans
        ]

    def render(self) -> Tree:
        """Draw the trace for a terminal; print it with rich."""
        from rich.text import Text
        from rich.tree import Tree

        origin = self.spans[0].start if self.spans else 0
        tree = Tree(Text.assemble(("trace ", "dim"), self.trace_id))

        def grow(branch: Tree, parent: Span | None) -> None:
            for span in self.children(parent):
                style = "bold red" if span.status == "error" else "bold"
                label = Text.assemble(
                    (span.name, style),
                    ("  " + _duration(span.microseconds), "cyan"),
                    (f"  +{_duration((span.start - origin) / 1e3)}", "dim"),
                    (f"  {span.service}", "green"),
                    ("".join(f"  {key}={value}" for key, value in _notable(span)), "dim"),
                )
                grow(branch.add(label), span)

        grow(tree, None)
        return tree


def find(trace_id: str, directory: Path | None = None) -> Trace | None:
    """Return the trace whose id begins with these hex digits (4 or more), or None when the files hold none.

    Raises ValueError for text that is no beginning of a trace id, and when two traces begin with it.
    """
    prefix = trace_id.strip().lower()
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"trace id is {trace_id!r}; allowed: 4 to 32 hexadecimal digits")
    found: dict[str, list[Span]] = {}
    for path in _files(directory):
        for span in _spans(line for line in _lines(path) if prefix in line):
            if span.trace_id.startswith(prefix):
                found.setdefault(span.trace_id, []).append(span)
    if len(found) > 1:
        raise ValueError(f"{len(found)} traces begin with {prefix}; give more digits")
    for identity, spans in found.items():
        return Trace(identity, tuple(sorted(spans, key=lambda span: span.start)))
    return None


def last(directory: Path | None = None) -> Trace | None:
    """Return the newest trace: the one whose root started last, or None when there are no files."""
    newest: tuple[bool, int, str] | None = None
    for path in _files(directory):
        for span in _spans(deque(_lines(path), maxlen=TAIL_LINES)):
            key = (span.parent is None, span.start, span.trace_id)
            newest = max(newest, key) if newest else key
    return find(newest[2], directory) if newest else None


def _files(directory: Path | None) -> list[Path]:
    folder = directory or trace_directory(os.environ)
    return sorted(folder.glob("*.jsonl"))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            # A line that is being written has no end yet.
            yield from (line for line in file if line.endswith("\n"))
    except FileNotFoundError:
        # Rotated away between listing and opening.
        return


def _spans(lines: Iterator[str] | deque[str]) -> Iterator[Span]:
    for line in lines:
        try:
            yield from _parse(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("a line of the trace files is no OTLP/JSON: %s", error)


def _parse(document: dict[str, Any]) -> Iterator[Span]:
    for resource in document["resourceSpans"]:
        service = str(_attributes(resource.get("resource") or {}).get("service.name", "unknown"))
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                yield Span(
                    trace_id=span["traceId"].lower(),
                    id=span["spanId"].lower(),
                    service=service,
                    name=span["name"],
                    parent=(span.get("parentSpanId") or "").lower() or None,
                    start=start,
                    microseconds=(end - start) / 1e3,
                    attributes=_attributes(span),
                    links=tuple(link["spanId"].lower() for link in span.get("links") or ()),
                    status=_status(span.get("status") or {}),
                )


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: _value(item.get("value") or {}) for item in holder.get("attributes") or ()}


def _value(value: dict[str, Any]) -> Any:
    for kind, content in value.items():
        if kind == "intValue":
            return int(content)
        if kind == "arrayValue":
            return [_value(item) for item in content.get("values") or ()]
        return content
    return None


def _status(status: dict[str, Any]) -> str:
    code = status.get("code", 0)
    # Numbers are what the specification asks for; names are what some writers write.
    return _STATUS.get(code, "unset") if isinstance(code, int) else str(code).removeprefix("STATUS_CODE_").lower()


def _duration(microseconds: float) -> str:
    if microseconds < 1000:
        return f"{microseconds:.0f} us"
    return f"{microseconds / 1e3:.2f} ms" if microseconds < 1e6 else f"{microseconds / 1e6:.2f} s"


def _notable(span: Span) -> list[tuple[str, Any]]:
    shown = ("engine", "device", "model", "rows", "batch.rows", "batch.members", "fallback.reason", "payload.bytes")
    pairs = [(name, span.attributes.get(f"npufleet.{name}")) for name in shown]
    pairs.append(("error", span.attributes.get("error.type")))
    return [(name, value) for name, value in pairs if value is not None]
