"""One job from the outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from npufleet.broker import streams
from npufleet.errors import DeadlineExceededError, FleetError, from_kind
from npufleet.jobs import status as statuses
from npufleet.jobs.status import JobStatus
from npufleet.jobs.wish import CANCEL_S, RESULT_S
from npufleet.result import Result
from npufleet.transport import jetstream, payloads
from npufleet.wire import contract, header, job
from npufleet.wire.frame import tensors_of
from npufleet.wire.job import JobRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.msg import Msg
    from numpy.typing import NDArray

    from npufleet.control import Control
    from npufleet.jobs.waiting import Waiting
    from npufleet.transport.jetstream import Stored

ANSWER_S: Final = 5.0
LOOK_AGAIN_S: Final = 2.0


class Origin(NamedTuple):
    """What jobs that were submitted in one way have in common; of others only the first three are known.

    `own` says that this process submitted them, `scheduled` that they were to be done later.
    """

    control: Control
    waiting: Waiting
    prefix: str
    operation: str | None = None
    model: str | None = None
    lane: str | None = None
    own: bool = False
    scheduled: bool = False


class Job:
    """A job that was submitted, by this process or another one; `fleet.job(job_id)` finds it again.

    `trace_id` (32 hexadecimal digits) says that it is traced.
    """

    # As little as can be: they are made by the thousand while a batch is submitted.
    __slots__ = ("_origin", "id", "trace_id")

    def __init__(self, origin: Origin, job_id: str, trace_id: str | None = None) -> None:
        self._origin = origin
        self.id = job_id
        self.trace_id = trace_id

    @property
    def operation(self) -> str | None:
        """What it does, where that is known."""
        return self._origin.operation

    @property
    def model(self) -> str | None:
        """The model that it runs, if it runs one and that is known."""
        return self._origin.model

    @property
    def lane(self) -> str | None:
        """Its priority, where that is known."""
        return self._origin.lane

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.operation or ''}>".replace(" >", ">")

    async def result(self, timeout: float = RESULT_S) -> Result:  # noqa: ASYNC109
        """Wait for the job's result and return it, any number of times until its retention has passed.

        Raises the error with which the job failed for good, `CallCancelledError` when it was cancelled, and
        `DeadlineExceededError` when there is no result after `timeout` seconds; the job then goes on.
        """
        origin = self._origin
        stored = await origin.waiting.wait(self.id, timeout, own=origin.own)
        reply = _Reply(stored)
        if header.ERROR_KIND in stored.headers:
            raise _error(stored)
        if header.PAYLOAD in stored.headers:
            client = await origin.control.client()
            reply.payload = await payloads.get(client, origin.prefix, stored.headers[header.PAYLOAD])
        result = Result(reply, self.trace_id)
        result.tensors()  # raises where it is no frame
        return result

    async def wait(self, timeout: float = RESULT_S) -> JobStatus:  # noqa: ASYNC109
        """Wait until the job is over and return how it ended; raises `DeadlineExceededError` as `result` does."""
        return statuses.of_result(self.id, await self._origin.waiting.wait(self.id, timeout, own=self._origin.own))

    async def status(self) -> JobStatus:
        """Return what is known about the job now.

        A job of which nothing is known counts as queued; so does an id that nobody ever submitted.
        """
        found = await self._origin.waiting.look(self.id)
        if found is not None:
            return statuses.of_result(self.id, found)
        client = await self._origin.control.client()
        subject = job.event_subject(self.id, self._origin.prefix)
        event = await jetstream.last(client, streams.EVENTS, subject, ANSWER_S)
        if event is not None:
            return statuses.of_event(self.id, event.data)
        state = "scheduled" if self._origin.scheduled else "queued"
        return JobStatus(self.id, state, operation=self.operation, model=self.model, lane=self.lane)

    async def events(self) -> AsyncGenerator[JobStatus, None]:
        """Give the job's status now, and then each change until the job is over."""
        client = await self._origin.control.client()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await client.subscribe(job.event_subject(self.id, self._origin.prefix), cb=arrived.put)
        try:
            await client.flush()
            seen = await self.status()
            yield seen
            while not seen.over:
                try:
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        event = statuses.of_event(self.id, (await arrived.get()).data)
                except TimeoutError:
                    # Events may be lost; the result is not.
                    event = await self.status()
                if event.over:
                    # What is said may be one of two that tried to commit; what is committed counts.
                    event = await self.status()
                if event.at is not None and (seen.at is None or event.at > seen.at):
                    seen = event
                    yield seen
        finally:
            if not client.is_closed:
                await subscription.unsubscribe()

    async def cancel(self, timeout: float = CANCEL_S) -> JobStatus:  # noqa: ASYNC109
        """Cancel the job wherever it is, and return what became of it.

        The request is stored: when no worker answers within `timeout` seconds, the first one that meets the job
        cancels it. A job that was over already stays as it was.
        """
        found = await self._origin.waiting.look(self.id)
        if found is None:
            client = await self._origin.control.client()
            try:
                subject = job.cancel_subject(self.id, self._origin.prefix)
                await jetstream.publish(client, streams.RESULTS, subject, b"", self._described(), ANSWER_S)
            except jetstream.AlreadyThereError:
                pass  # somebody has asked before
            try:
                found = await self._origin.waiting.wait(self.id, timeout, own=False)
            except DeadlineExceededError:
                return await self.status()
        return statuses.of_result(self.id, found)

    def _sibling(self, job_id: str) -> Job:
        origin = self._origin
        return Job(Origin(origin.control, origin.waiting, origin.prefix, lane=origin.lane), job.check_id(job_id))

    def _described(self) -> dict[str, str]:
        if self.operation is None:
            return {}
        name = JobRequest(self.id, self.operation, self.model, self.lane or contract.DEFAULT_LANE).name
        return {header.OPERATION: name}


def _error(stored: Stored) -> FleetError:
    said = stored.headers
    kind = said[header.ERROR_KIND]
    return from_kind(kind, said.get(header.ERROR, kind), engine=said.get(header.ENGINE))


class _Reply:
    """A stored result in the form in which a call's reply comes."""

    def __init__(self, stored: Stored) -> None:
        self.payload = stored.data
        self._headers = stored.headers

    def tensors(self) -> dict[str, NDArray[Any]]:
        return tensors_of(self.payload)

    def header(self, name: str) -> str | None:
        return self._headers.get(name)
