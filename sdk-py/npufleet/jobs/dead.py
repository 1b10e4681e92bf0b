"""`fleet.jobs.dead`: jobs that failed for good, to be looked at, repeated or thrown away; for the operator."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from npufleet.broker import streams
from npufleet.errors import FleetError, InvalidParameterError
from npufleet.jobs import status as statuses
from npufleet.jobs import submit
from npufleet.jobs.wish import PAGE, SUBMIT_S
from npufleet.transport import jetstream, payloads
from npufleet.wire import header, job
from npufleet.wire.job import JobRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from npufleet.control import Control
    from npufleet.jobs.job import Job
    from npufleet.jobs.submit import Message

ANSWER_S: Final = 10.0
_REPEATED: Final = re.compile(r"(.+)-r([0-9]+)")
Letters = list["DeadLetter"]  # a method below is called list


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that failed for good.

    `history` are its events, the oldest first, as the workers wrote them; `at` and `submitted` are unix seconds;
    `size` is the frame's, in bytes.
    """

    job_id: str
    operation: str
    model: str | None
    lane: str | None
    attempt: int
    at: float
    submitted: float | None
    error_kind: str
    message: str
    engine: str | None
    size: int
    history: Sequence[dict[str, Any]]


class DeadLetters:
    """The dead letters of one fleet; `job_of` makes the handle of a repeated job."""

    def __init__(self, control: Control, prefix: str, inbox: Any, job_of: Callable[[Message], Job]) -> None:
        self._control = control
        self._prefix = prefix
        self._inbox = inbox
        self._job_of = job_of

    async def list(self, *, operation: str | None = None, limit: int = PAGE) -> Letters:
        """Return dead letters, the oldest first."""
        subject = job.dead_subject(operation or "*", "*", self._prefix)
        client = await self._control.client()
        found: Letters = []
        sequence = 1
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found))
            question = {"seq": sequence, "next_by_subj": subject, "batch": wanted}
            page = await jetstream.scan(client, streams.DEAD, question, ANSWER_S)
            found += [_letter(stored) for stored in page]
            if len(page) < wanted:
                break
            sequence = page[-1].sequence + 1
        return found

    async def show(self, job_id: str) -> DeadLetter:
        """Return one dead letter; raises `InvalidParameterError` when there is none."""
        return _letter(await self._stored(job_id))

    async def replay(self, job_id: str) -> Job:
        """Submit a dead letter's job again as a new job, and remove the letter.

        The new job's id is the old one with `-r1`, the next time `-r2`; it has no deadline. Doing it twice gives the
        same job.
        """
        stored = await self._stored(job_id)
        client = await self._control.client()
        lane, operation, model = _name(stored)
        headers = {name: value for name, value in stored.headers.items() if name in _KEPT}
        said = JobRequest.parse(
            JobRequest(job_id, operation, model, lane or "normal").subject(self._prefix),
            headers,
            stored.sequence,
            self._prefix,
        )
        again = _again(said, job_id, await self._inbox())
        frame = stored.data
        if said.payload is not None:
            frame = await payloads.get(client, self._prefix, said.payload)
        message = submit.message_of(again, frame, prefix=self._prefix)
        await submit.store(self._control, self._prefix, message, SUBMIT_S)
        await self._remove(stored)
        return self._job_of(message)

    async def purge(self, job_id: str | None = None) -> int:
        """Remove one dead letter, or all of them, with their payloads; returns how many."""
        if job_id is not None:
            await self._remove(await self._stored(job_id))
            return 1
        count = 0
        client = await self._control.client()
        while page := await jetstream.scan(
            client,
            streams.DEAD,
            {"seq": 1, "next_by_subj": job.dead_subject("*", "*", self._prefix), "batch": PAGE},
            ANSWER_S,
        ):
            for stored in page:
                await self._remove(stored)
            count += len(page)
        return count

    async def _stored(self, job_id: str) -> jetstream.Stored:
        subject = job.dead_subject("*", job.check_id(job_id), self._prefix)
        question = {"seq": 1, "next_by_subj": subject, "batch": 1}
        found = await jetstream.scan(await self._control.client(), streams.DEAD, question, ANSWER_S)
        if not found:
            raise InvalidParameterError(f"job {job_id} has no dead letter")
        return found[0]

    async def _remove(self, stored: jetstream.Stored) -> None:
        client = await self._control.client()
        # The payload first: a letter without one can still be removed, a payload without a letter is never found.
        if header.PAYLOAD in stored.headers:
            await payloads.remove(client, self._prefix, stored.headers[header.PAYLOAD])
        await jetstream.ask(client, f"STREAM.PURGE.{streams.DEAD}", {"filter": stored.subject}, ANSWER_S)


_KEPT: Final = frozenset(
    {header.RETRIES, header.ATTEMPT_TIMEOUT, header.IDEMPOTENCY_KEY, header.PAYLOAD, header.JOB_ID}
)
"""What a repeated job takes over: not its deadline, which has passed or would."""


def _again(said: JobRequest, job_id: str, inbox: str) -> JobRequest:
    matched = _REPEATED.fullmatch(job_id)
    base, times = (matched[1], int(matched[2])) if matched else (job_id, 0)
    return JobRequest(
        job_id=job.check_id(f"{base}-r{times + 1}"),
        operation=said.operation,
        model=said.model,
        lane=said.lane,
        submitted=job.now_us(),
        retries=said.retries,
        attempt_timeout=said.attempt_timeout,
        idempotency_key=said.idempotency_key,
        notify=inbox,
        retry_of=job_id,
    )


def _letter(stored: jetstream.Stored) -> DeadLetter:
    said = stored.headers
    lane, operation, model = _name(stored)
    reference = said.get(header.PAYLOAD)
    try:
        size = len(stored.data) if reference is None else payloads.Reference.parse(reference).size
        history = json.loads(said.get(header.HISTORY, "[]"))
    except (FleetError, ValueError):
        size, history = len(stored.data), []
    submitted = said.get(header.SUBMITTED, "")
    return DeadLetter(
        job_id=said.get(header.JOB_ID, stored.subject.rpartition(".")[2]),
        operation=operation,
        model=model,
        lane=lane,
        attempt=int(said.get(header.ATTEMPT, "0")),
        at=statuses.microseconds(stored.time) / 1e6,
        submitted=int(submitted) / 1e6 if submitted.isdecimal() else None,
        error_kind=said.get(header.ERROR_KIND, "internal"),
        message=said.get(header.ERROR, ""),
        engine=said.get(header.ENGINE),
        size=size,
        history=history,
    )


def _name(stored: jetstream.Stored) -> tuple[str | None, str, str | None]:
    lane, operation, model, *_ = [*stored.headers.get(header.OPERATION, "").split("."), None, None, None]
    return lane or None, operation or stored.subject.split(".")[-2], model
