"""One coarse timer for many moments in time: deadlines and half-times of calls, never a timer per call."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

COARSENESS_S = 0.01
"""The least time between two sweeps, so that many different moments cost no more than a hundred sweeps a second."""


class Sweep:
    """Calls `sweep()` at or shortly after the earliest moment given to `at`, on `time.monotonic`'s clock.

    `sweep` handles everything that is due and returns the next moment, or None. Because calls mostly end long
    before their deadline and mostly share one timeout, the timer is hardly ever touched.
    """

    __slots__ = ("_handle", "_loop", "_sweep", "next")

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Callable[[], float | None]) -> None:
        self._loop = loop
        self._sweep = sweep
        self._handle: asyncio.TimerHandle | None = None
        self.next = float("inf")
        """The moment that is armed; a caller on a hot path compares before it calls `at`."""

    def at(self, moment: float) -> None:
        """Sweep at `moment` at the latest."""
        if moment >= self.next:
            return
        if self._handle is not None:
            self._handle.cancel()
        self.next = moment
        self._handle = self._loop.call_later(max(moment - monotonic(), 0.0), self._due)

    def stop(self) -> None:
        """Forget the timer."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self.next = None, float("inf")

    def _due(self) -> None:
        self._handle, self.next = None, float("inf")
        moment = self._sweep()
        if moment is not None:
            self.at(max(moment, monotonic() + COARSENESS_S))
