"""Which jobs there are, as the streams tell it: for the operator, and for a fleet of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from npufleet.broker import streams
from npufleet.errors import FleetError, InvalidParameterError
from npufleet.jobs import status as statuses
from npufleet.jobs.status import JobStatus
from npufleet.transport import jetstream
from npufleet.wire import header, job
from npufleet.wire.contract import LANES, VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client

LIMIT_MOST: Final = 10_000
AT_ONCE: Final = 200
ANSWER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One lane: jobs that wait, those that workers have, those delivered more than once, and the oldest's age.

    `handed_over` counts those of the waiting ones that are for Python workers only; `oldest` is in seconds, None when
    nothing is there.
    """

    lane: str
    waiting: int
    running: int
    redelivered: int
    handed_over: int
    oldest: float | None


async def newest(
    client: Client, prefix: str, *, state: str | None, operation: str | None, limit: int
) -> list[JobStatus]:
    """Return the newest jobs of each stage, the latest news first; see `Jobs.list`."""
    if state is not None and state not in job.STATES:
        raise InvalidParameterError(f"state is {state!r}; allowed: {', '.join(job.STATES)}")
    if isinstance(limit, bool) or not 1 <= limit <= LIMIT_MOST:
        raise InvalidParameterError(f"limit is {limit!r}; allowed: 1 to {LIMIT_MOST}")
    start = f"{prefix}.v{VERSION}"
    found: dict[str, JobStatus] = {}
    # What is said later is known better: an event more than a message that waits, a result more than an event.
    async for stored in _newest(client, streams.SCHEDULES, f"{start}.schedule.*", limit):
        _add(found, _waiting(stored, "scheduled", prefix))
    async for stored in _newest(client, streams.JOBS, f"{start}.>", limit):
        _add(found, _waiting(stored, "queued", prefix))
    async for stored in _newest(client, streams.FLOWS, f"{start}.>", limit):
        _add(found, _waiting(stored, "queued", prefix))
    async for stored in _newest(client, streams.EVENTS, f"{start}.event.*", limit):
        known = found.get(_last_token(stored))
        said = statuses.of_event(_last_token(stored), stored.data)
        if not said.over and known is not None:
            _add(found, statuses.merged(known, said))
    async for stored in _newest(client, streams.RESULTS, f"{start}.result.*", limit):
        _add(found, statuses.of_result(_last_token(stored), stored))
    # A message may stay a while when its job is over.
    waiting = [job.result_subject(each.job_id, prefix) for each in found.values() if not each.over]
    for first in range(0, len(waiting), AT_ONCE):
        question = {"multi_last": waiting[first : first + AT_ONCE]}
        for stored in await jetstream.scan(client, streams.RESULTS, question, ANSWER_S):
            _add(found, statuses.of_result(_last_token(stored), stored))
    chosen = [each for each in found.values() if state in (None, each.state) and operation in (None, each.operation)]
    return sorted(chosen, key=lambda each: each.at or each.submitted or 0.0, reverse=True)[:limit]


async def queues(client: Client, prefix: str) -> list[QueueStatus]:
    """Return what each lane holds, the most urgent first."""
    return [await _queue(client, prefix, lane) for lane in LANES]


async def _queue(client: Client, prefix: str, lane: str) -> QueueStatus:
    waiting: dict[str, int] = {}
    running = redelivered = 0
    oldest: list[float] = []
    for route in ("job", "handover"):
        answer = await jetstream.ask(client, f"CONSUMER.INFO.{streams.JOBS}.{route}-{lane}", None, ANSWER_S)
        waiting[route] = answer["num_pending"]
        running += answer["num_ack_pending"]
        redelivered += answer["num_redelivered"]
        # What lies below is over and waits for its removal.
        start = answer["ack_floor"]["stream_seq"] + 1
        question = {"seq": start, "next_by_subj": f"{prefix}.v{VERSION}.{route}.{lane}.>", "batch": 1}
        first = await jetstream.scan(client, streams.JOBS, question, ANSWER_S)
        oldest += [(job.now_us() - statuses.microseconds(stored.time)) / 1e6 for stored in first]
    total = sum(waiting.values())
    return QueueStatus(lane, total, running, redelivered, waiting["handover"], max(oldest, default=None))


async def _newest(client: Client, stream: str, subject: str, limit: int) -> AsyncIterator[jetstream.Stored]:
    """Give the messages among the last `limit` sequences of a stream, the oldest first."""
    state = (await jetstream.ask(client, f"STREAM.INFO.{stream}", None, ANSWER_S))["state"]
    sequence = max(state["first_seq"], state["last_seq"] - limit + 1, 1)
    while sequence <= state["last_seq"]:
        question = {"seq": sequence, "next_by_subj": subject, "batch": AT_ONCE}
        page = await jetstream.scan(client, stream, question, ANSWER_S)
        for stored in page:
            yield stored
        if len(page) < AT_ONCE:
            return
        sequence = page[-1].sequence + 1


def _add(found: dict[str, JobStatus], status: JobStatus | None) -> None:
    if status is not None:
        found[status.job_id] = status


def _waiting(stored: jetstream.Stored, state: str, prefix: str) -> JobStatus | None:
    """Read a job that waits; None when it cannot be read, which its worker will say."""
    try:
        subject = stored.headers.get("Nats-Schedule-Target", stored.subject)
        headers = {name: value for name, value in stored.headers.items() if state != "scheduled" or name[:5] != "Nats-"}
        request = job.JobRequest.parse(subject, headers, stored.sequence, prefix)
    except FleetError:
        return None
    return JobStatus(
        job_id=request.job_id,
        state=state,
        attempt=request.made,
        operation=request.operation,
        model=request.model,
        lane=request.lane,
        submitted=request.submitted / 1e6,
    )


def _last_token(stored: jetstream.Stored) -> str:
    return stored.headers.get(header.JOB_ID) or stored.subject.rpartition(".")[2]
