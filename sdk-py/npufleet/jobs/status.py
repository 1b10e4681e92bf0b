"""What is known about a job: its status now, and its events as they come."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import CallCancelledError
from npufleet.wire import header

if TYPE_CHECKING:
    from npufleet.transport.jetstream import Stored

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
OVER: Final = frozenset({SUCCEEDED, FAILED, CANCELLED})
"""States that are final: such a job has a result."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job at one moment.

    `state` is scheduled, queued (accepted, and no worker has said anything), running, retrying, succeeded, failed or
    cancelled; `attempt` counts from 1; `submitted` and `finished` are unix seconds; `progress` is 0 to 1;
    `retry_after` is in seconds; `error_kind` and `message` say why the job, or its last attempt, failed. What is not
    known is None.
    """

    job_id: str
    state: str
    attempt: int = 0
    operation: str | None = None
    model: str | None = None
    lane: str | None = None
    worker: str | None = None
    engine: str | None = None
    device: str | None = None
    at: float | None = None
    submitted: float | None = None
    finished: float | None = None
    progress: float | None = None
    retry_after: float | None = None
    error_kind: str | None = None
    message: str | None = None

    @property
    def over(self) -> bool:
        """Whether the state is final."""
        return self.state in OVER


def of_result(job_id: str, stored: Stored) -> JobStatus:
    """Read a committed result's headers."""
    said = stored.headers
    kind = said.get(header.ERROR_KIND)
    state = SUCCEEDED if kind is None else CANCELLED if kind == CallCancelledError.kind else FAILED
    lane, operation, model, *_ = [*said.get(header.OPERATION, "").split("."), None, None, None]
    finished = _seconds(said.get(header.FINISHED))
    return JobStatus(
        job_id=job_id,
        state=state,
        attempt=int(said.get(header.ATTEMPT, "0")),
        operation=operation,
        model=model,
        lane=lane or None,
        worker=said.get(header.WORKER),
        engine=said.get(header.ENGINE),
        device=said.get(header.DEVICE),
        at=finished,
        submitted=_seconds(said.get(header.SUBMITTED)),
        finished=finished,
        error_kind=kind,
        message=said.get(header.ERROR),
    )


def of_event(job_id: str, body: bytes) -> JobStatus:
    """Read an event's JSON."""
    said: dict[str, Any] = json.loads(body)
    error = said.get("error") or {}
    return JobStatus(
        job_id=job_id,
        state=said["state"],
        attempt=said.get("attempt", 0),
        worker=said.get("worker"),
        engine=said.get("engine"),
        at=said["at"] / 1e6,
        progress=said.get("progress"),
        retry_after=said.get("retry_after"),
        error_kind=error.get("kind"),
        message=error.get("message"),
    )


def merged(known: JobStatus, said: JobStatus) -> JobStatus:
    """Return what an event says of a job, with what only its message knows."""
    return replace(said, operation=known.operation, model=known.model, lane=known.lane, submitted=known.submitted)


def microseconds(moment: str) -> int:
    """Read the server's time (RFC 3339 with nanoseconds) as unix microseconds."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 1_000_000 + int(f"{fraction:0<6.6}" or 0)


def _seconds(microseconds: str | None) -> float | None:
    return None if microseconds is None else int(microseconds) / 1e6
