"""What the worker says on standard output: JSON lines for a supervisor, or the same for people."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

_log = logging.getLogger(__name__)


class Events:
    """Writes one line per event; with `as_json` each is an object whose key `event` names it."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._readable = True

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event; when nobody reads any more, that is logged once and work goes on."""
        if not self._readable:
            return
        line = json.dumps({"event": event, **fields}) if self._as_json else _text(event, fields)
        try:
            print(line, flush=True)
        except BrokenPipeError:
            self._readable = False
            _log.warning("nobody reads the events any more")


def _text(event: str, fields: dict[str, Any]) -> str:
    words = [f"{name}={_value(value)}" for name, value in fields.items() if value not in (None, "")]
    return " ".join(["worker", event, *words])


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_device(item) if isinstance(item, dict) else str(item) for item in value)
    return str(value)


def _device(device: dict[str, Any]) -> str:
    name = device["name"] if device["available"] else f"no {device['name']}"
    return f"{name} ({device['reason']})" if device["reason"] else str(name)


def flush() -> None:
    """Write out what is buffered before the process ends."""
    sys.stdout.flush()
