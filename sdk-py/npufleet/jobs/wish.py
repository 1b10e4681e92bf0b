"""How a job is to be treated, and how long one waits for what; imports nothing that a start-up should not pay for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from npufleet.wire import contract, job

SUBMIT_S: Final = 10.0
RESULT_S: Final = 60.0
CANCEL_S: Final = 5.0
LIMIT: Final = 100
PAGE: Final = 100

Moment: TypeAlias = float | timedelta | datetime | None
"""A moment: seconds from now, a span of time, or a moment with its time zone."""


class Wish(NamedTuple):
    """How a job is to be treated; see `AsyncFleet.submit`."""

    lane: str = contract.DEFAULT_LANE
    deadline: Moment = None
    retries: int = job.RETRIES
    attempt_timeout: float = job.ATTEMPT_TIMEOUT_S
    idempotency_key: str | None = None
    run_at: Moment = None
    every: str | timedelta | None = None
