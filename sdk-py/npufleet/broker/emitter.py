"""The supervisor's voice: one JSON object per line, never waiting for a slow listener."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

PENDING_LIMIT = 1 << 20
"""Bytes that may wait for the listener; beyond them log lines are dropped and counted, other events are kept."""


class Emitter:
    """Write events to standard output.

    A listener that does not read must not block the supervisor, for then the children's pipes would fill and block
    the workers. A listener that is gone is reported once, to `on_gone`.
    """

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self._pipe: asyncio.WriteTransport | None = None
        self._closed: asyncio.Future[None]
        self._dropped = 0

    @classmethod
    async def open(cls, on_gone: Callable[[], None]) -> Self:
        """Take over standard output."""
        emitter = cls(on_gone)
        mode = os.fstat(sys.stdout.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            loop = asyncio.get_running_loop()
            emitter._closed = loop.create_future()
            emitter._pipe, _ = await loop.connect_write_pipe(lambda: _Listener(on_gone, emitter._closed), sys.stdout)
        return emitter

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event; its name is the field `event`."""
        line = json.dumps({"event": event, **fields}, separators=(",", ":"))
        if self._pipe is None:
            try:
                print(line, flush=True)
            except BrokenPipeError:
                self._on_gone()
            return
        if event == "log" and self._pipe.get_write_buffer_size() > PENDING_LIMIT:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.emit("dropped", lines=dropped)
        self._pipe.write(line.encode() + b"\n")

    async def close(self, patience: float = 1.0) -> None:
        """Wait at most `patience` seconds until the listener has read everything."""
        if self._pipe is None:
            return
        self._pipe.close()
        await asyncio.wait({self._closed}, timeout=patience)
        self._pipe.abort()  # a listener that does not read did not want the rest


class _Listener(asyncio.BaseProtocol):
    def __init__(self, on_gone: Callable[[], None], closed: asyncio.Future[None]) -> None:
        self._on_gone = on_gone
        self._closed = closed

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set_result(None)
        if error is not None:
            self._on_gone()
