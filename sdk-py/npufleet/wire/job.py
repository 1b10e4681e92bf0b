"""A durable job as a message: its subjects, its headers, how often it is tried and how long it waits in between.

The whole protocol is written down in docs/jobs-protocol.md.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from npufleet.errors import FleetError, InvalidParameterError
from npufleet.wire import header
from npufleet.wire.contract import DEFAULT_LANE, VERSION
from npufleet.wire.document import DOCUMENT
from npufleet.wire.subject import PREFIX, check_lane, check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_RULES: Final = DOCUMENT["jobs"]

ID_PATTERN: Final = re.compile(_RULES["id"])
RETRIES: Final[int] = _RULES["retries"]
RETRIES_LIMIT: Final[int] = _RULES["retries_limit"]
ATTEMPT_TIMEOUT_S: Final[float] = _RULES["attempt_timeout_us"] / 1e6
INLINE_BYTES: Final[int] = _RULES["inline_bytes"]
STATES: Final[tuple[str, ...]] = tuple(_RULES["states"])
PERMANENT: Final = frozenset(_RULES["permanent"])
HANDED_OVER: Final = frozenset(_RULES["handed_over"])
WEIGHTS: Final[dict[str, int]] = _RULES["weights"]
ROUTES: Final = ("job", "handover", "due", "flow")

SCHEDULE_NEXT: Final = "Nats-Schedule-Next"
"""The broker's header on a job whose time has come: when it comes next, or `purge` when it does not."""

KEY_LIMIT: Final = 256
_FIRST_S: Final[float] = _RULES["retry_first_us"] / 1e6
_LONGEST_S: Final[float] = _RULES["retry_longest_us"] / 1e6


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a job's message says beyond its frame.

    `submitted` and `deadline` (None: no deadline) are unix microseconds, `attempt_timeout` is seconds, `made` counts
    the attempts before a hand-over, `series` is the repeated job whose run it is.
    """

    job_id: str
    operation: str
    model: str | None = None
    lane: str = DEFAULT_LANE
    submitted: int = 0
    deadline: int | None = None
    retries: int = RETRIES
    attempt_timeout: float = ATTEMPT_TIMEOUT_S
    made: int = 0
    idempotency_key: str | None = None
    notify: str | None = None
    retry_of: str | None = None
    fallback_reason: str | None = None
    payload: str | None = None
    series: str | None = None

    @property
    def name(self) -> str:
        """`<lane>.<operation>[.<model>]`, as results and dead letters carry it."""
        return f"{self.lane}.{self.operation}" + (f".{self.model}" if self.model else "")

    def subject(self, prefix: str = PREFIX, route: str = "job") -> str:
        """Return where the job goes on one of the routes job, handover, due and flow."""
        return f"{prefix}.v{VERSION}.{route}.{self.name}"

    def headers(self) -> dict[str, str]:
        """Return the headers of the message; traces add theirs."""
        given: dict[str, object | None] = {
            header.JOB_ID: self.job_id,
            header.SUBMITTED: self.submitted,
            header.DEADLINE: self.deadline,
            header.RETRIES: None if self.retries == RETRIES else self.retries,
            header.ATTEMPT_TIMEOUT: None
            if self.attempt_timeout == ATTEMPT_TIMEOUT_S
            else round(self.attempt_timeout * 1e6),
            header.ATTEMPT: self.made or None,
            header.IDEMPOTENCY_KEY: self.idempotency_key,
            header.NOTIFY: self.notify,
            header.RETRY_OF: self.retry_of,
            header.FALLBACK_REASON: self.fallback_reason,
            header.PAYLOAD: self.payload,
        }
        return {name: str(value) for name, value in given.items() if value is not None}

    @classmethod
    def parse(cls, subject: str, headers: Mapping[str, str], sequence: int, prefix: str = PREFIX) -> JobRequest:
        """Read a message of the stream JOBS; `sequence` is its place there.

        Raises `InvalidParameterError` for a subject or a header that is none of a job's.
        """
        lane, operation, model = split(subject, prefix)
        job_id = check_id(headers.get(header.JOB_ID, ""))
        series = None
        if headers.get(SCHEDULE_NEXT, "purge") != "purge":
            # One of many: each run of a repeated job is a job of its own.
            series = job_id
            job_id = check_id(f"{job_id}-{sequence}")
        deadline = headers.get(header.DEADLINE)
        timeout = headers.get(header.ATTEMPT_TIMEOUT)
        return cls(
            job_id=job_id,
            operation=operation,
            model=model,
            lane=lane,
            submitted=header.microseconds(header.SUBMITTED, headers.get(header.SUBMITTED, "0")),
            deadline=None if deadline is None else header.microseconds(header.DEADLINE, deadline),
            retries=check_retries(_number(header.RETRIES, headers.get(header.RETRIES, str(RETRIES)))),
            attempt_timeout=ATTEMPT_TIMEOUT_S
            if timeout is None
            else header.microseconds(header.ATTEMPT_TIMEOUT, timeout) / 1e6,
            made=_number(header.ATTEMPT, headers.get(header.ATTEMPT, "0")),
            idempotency_key=headers.get(header.IDEMPOTENCY_KEY),
            notify=headers.get(header.NOTIFY),
            retry_of=headers.get(header.RETRY_OF),
            fallback_reason=headers.get(header.FALLBACK_REASON),
            payload=headers.get(header.PAYLOAD),
            series=series,
        )


def split(subject: str, prefix: str = PREFIX) -> tuple[str, str, str | None]:
    """Return lane, operation and model of a job's subject, or raise `InvalidParameterError`."""
    start = f"{prefix}.v{VERSION}."
    tokens = subject.removeprefix(start).split(".")
    if not subject.startswith(start) or not 3 <= len(tokens) <= 4 or tokens[0] not in ROUTES:
        raise InvalidParameterError(f"subject '{subject:.200}' names no job")
    model = check_name("model", tokens[3]) if len(tokens) == 4 else None
    return check_lane(tokens[1]), check_name("operation", tokens[2]), model


def new_id() -> str:
    """Return a job id that nobody can guess and that sorts after those of earlier milliseconds."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def id_of_key(operation: str, model: str | None, key: str) -> str:
    """Return the job id that an idempotency key stands for: the same for every submitter and at any time."""
    if not isinstance(key, str) or not key or len(key) > KEY_LIMIT or not key.isprintable():
        raise InvalidParameterError(
            f"idempotency_key is {str(key)[:80]!r}; allowed: 1 to {KEY_LIMIT} printable characters"
        )
    return hashlib.sha256("\0".join((operation, model or "", key)).encode()).hexdigest()[:32]


def check_id(job_id: str) -> str:
    """Return a job's id, or raise `InvalidParameterError`."""
    if not isinstance(job_id, str) or not ID_PATTERN.fullmatch(job_id):
        raise InvalidParameterError(f"job id is '{str(job_id)[:80]}'; allowed: {ID_PATTERN.pattern}")
    return job_id


def check_retries(retries: int) -> int:
    """Return how many attempts may follow the first, or raise `InvalidParameterError`."""
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= RETRIES_LIMIT:
        raise InvalidParameterError(f"retries is {retries!r}; allowed: 0 to {RETRIES_LIMIT}")
    return retries


def retry_after(attempt: int) -> float:
    """Return the seconds that a job waits after its attempt `attempt` (from 1) failed: exponential, with jitter."""
    shortest: float = min(_FIRST_S * 2.0 ** min(attempt - 1, 16), _LONGEST_S)
    return shortest * random.uniform(1.0, 1.5)  # noqa: S311 - spreads retries, hides nothing


def is_permanent(error: FleetError) -> bool:
    """Whether another attempt cannot help."""
    return error.kind in PERMANENT


def now_us() -> int:
    """Return the wall clock's time in unix microseconds."""
    return time.time_ns() // 1000


def result_subject(job_id: str, prefix: str = PREFIX) -> str:
    """Return where a job's result is committed."""
    return f"{prefix}.v{VERSION}.result.{job_id}"


def cancel_subject(job_id: str, prefix: str = PREFIX) -> str:
    """Return where a job's cancellation is asked for."""
    return f"{prefix}.v{VERSION}.cancel.{job_id}"


def event_subject(job_id: str, prefix: str = PREFIX) -> str:
    """Return where a job's events are told."""
    return f"{prefix}.v{VERSION}.event.{job_id}"


def dead_subject(operation: str, job_id: str, prefix: str = PREFIX) -> str:
    """Return where a job goes that failed for good; `*` stands for any operation or id."""
    return f"{prefix}.v{VERSION}.dead.{operation}.{job_id}"


def schedule_subject(job_id: str, prefix: str = PREFIX) -> str:
    """Return where a job waits for its time."""
    return f"{prefix}.v{VERSION}.schedule.{job_id}"


def advance_subject(flow_id: str, prefix: str = PREFIX) -> str:
    """Return where it is said that a step of a flow is over."""
    return f"{prefix}.v{VERSION}.advance.{flow_id}"


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise InvalidParameterError(f"header {name} is '{value:.80}'; allowed: a decimal number")
    return int(value)
