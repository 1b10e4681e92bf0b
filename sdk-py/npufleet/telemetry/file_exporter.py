"""Writes spans as OTLP/JSON lines, as the OpenTelemetry file exporter specification has them."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from npufleet.telemetry.otlp_json import encode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from npufleet.telemetry.processor import Deferred

ROTATE_BYTES: Final = 16 * 1024 * 1024
KEEP_FILES: Final = 200

_log = logging.getLogger(__name__)


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

    def export(self, spans: Sequence[ReadableSpan | Deferred]) -> SpanExportResult:
        """Write one batch as one line; a full disk or a lost folder is reported and costs this batch only."""
        line = encode(spans).encode() + b"\n"
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
