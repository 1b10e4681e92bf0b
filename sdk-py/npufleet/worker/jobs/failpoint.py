"""Named places where a fault test lets a worker die: `NPUFLEET_FAIL_POINT=<place>:<n>` kills it at the n-th passing."""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "NPUFLEET_FAIL_POINT"
PLACES: Final = ("fetched", "looked", "executing", "executed", "committed", "acknowledged")


class FailPoint:
    """Counts the passings of one place; costs one comparison where none is set."""

    def __init__(self, setting: str | None = None) -> None:
        place, _, count = (os.environ.get(VARIABLE, "") if setting is None else setting).partition(":")
        if place and place not in PLACES:
            raise ValueError(f"{VARIABLE} is {place!r}; allowed: {', '.join(PLACES)}")
        self._place = place
        self._left = int(count or 1)

    def __call__(self, place: str) -> None:
        """Die here, as by `kill -9`, if this is the place and the time."""
        if place == self._place:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


passing: Final = FailPoint()
"""This process's."""
