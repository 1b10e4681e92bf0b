"""Jobs for later: when the broker is to hand them out (ADR-51)."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError

if TYPE_CHECKING:
    from npufleet.jobs.wish import Moment

HEADER: Final = "Nats-Schedule"
TARGET: Final = "Nats-Schedule-Target"
TTL: Final = ("Nats-Schedule-TTL", "168h")
"""How long a due job may wait for room in the stream JOBS."""

SHORTEST_S: Final = 1
LONGEST_S: Final = 366 * 86400
_PART: Final = re.compile(r"([0-9]+)(d|h|m|s)")
_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def moment(field: str, given: Moment) -> float | None:
    """Return a moment in unix seconds, or None; raises `InvalidParameterError` unless it is in the next ten years."""
    if given is None:
        return None
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise InvalidParameterError(f"{field} is {given}; allowed: a moment with its time zone")
        found = given.timestamp()
    else:
        found = time.time() + (given.total_seconds() if isinstance(given, timedelta) else given)
    if not time.time() < found < time.time() + 10 * 366 * 86400:
        raise InvalidParameterError(f"{field} is {given}; allowed: from now on, at most ten years")
    return found


def schedule(run_at: Moment, every: str | timedelta | None) -> str | None:
    """Return the broker's word for a schedule, None for at once.

    `every` is a span such as `15m`, `1h30m` or a timedelta. Raises `InvalidParameterError`.
    """
    at = moment("run_at", run_at)
    if every is None:
        # Rounded up: the broker counts whole seconds, and too early would be wrong.
        return None if at is None else f"@at {datetime.fromtimestamp(-(-at // 1), UTC):%Y-%m-%dT%H:%M:%SZ}"
    if at is not None:
        raise InvalidParameterError("run_at and every are both given; allowed: one of them")
    return f"@every {_span(every)}s"


def _span(every: str | timedelta) -> int:
    if isinstance(every, timedelta):
        seconds = every.total_seconds()
    else:
        parts = _PART.findall(every)
        whole = every if isinstance(every, str) and "".join(map("".join, parts)) == every else ""
        seconds = float(sum(int(number) * _SECONDS[unit] for number, unit in parts)) if whole else 0.0
    if not SHORTEST_S <= seconds <= LONGEST_S or seconds != int(seconds):
        raise InvalidParameterError(f"every is {every!r}; allowed: whole seconds, 1s to 366d, such as 15m or 1h30m")
    return int(seconds)
