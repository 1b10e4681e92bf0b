"""Connections that wait for their next transfer, and how many there may be."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from npufleet.errors import OverloadedError
from npufleet.payload.channel.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npufleet.payload.channel.address import Address

BUSY: Final = 64
"""Transfers at once; more wait."""

_IDLE: Final = 64
_IDLE_EACH: Final = 8
_IDLE_S: Final = 60.0


class Pool:
    """Idle connections, oldest first, with the time since when each waits."""

    def __init__(self) -> None:
        self._process = 0
        self._begin()

    def _begin(self) -> None:
        """Have no connections. In a forked child the parent's are dead, and so may be its lock."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._changed = threading.Condition()
            self._busy = 0
            self._idle: list[tuple[float, Connection]] = []

    @contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """Hold the right to one transfer; raises `OverloadedError` when none is free until `deadline`."""
        self._begin()
        with self._changed:
            if not self._changed.wait_for(lambda: self._busy < BUSY, max(deadline - time.monotonic(), 0)):
                raise OverloadedError("too many frames are being fetched")
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify()

    def take(self, address: Address) -> Connection:
        """Return the connection that was used last, or a new one."""
        with self._changed:
            for at in reversed(range(len(self._idle))):
                if self._idle[at][1].address == address:
                    return self._idle.pop(at)[1]
        return Connection(address)

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next transfer; close what waits too long or is too much."""
        now = time.monotonic()
        with self._changed:
            self._idle.append((now, connection))
            same = [entry for entry in self._idle if entry[1].address == connection.address]
            unwanted = same[:-_IDLE_EACH] + self._idle[:-_IDLE]
            unwanted += [entry for entry in self._idle if now - entry[0] > _IDLE_S]
            self._idle = [entry for entry in self._idle if entry not in unwanted]
        _close({entry[1] for entry in unwanted})

    def forget(self, address: Address) -> None:
        """Close the connections to an owner that one was just lost to: the others are as old."""
        with self._changed:
            lost = {entry[1] for entry in self._idle if entry[1].address == address}
            self._idle = [entry for entry in self._idle if entry[1] not in lost]
        _close(lost)

    def close(self) -> None:
        """Close the connections that wait."""
        self._begin()
        with self._changed:
            idle, self._idle = self._idle, []
        _close({entry[1] for entry in idle})


def _close(connections: set[Connection]) -> None:
    for connection in connections:
        connection.close()
