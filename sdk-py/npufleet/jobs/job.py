"""One job from the outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

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


class Job:
    """A job that was submitted, by this process or another one; `fleet.job(job_id)` finds it again.

    `own` says that this process submitted it, `scheduled` that it was to be done later, `trace_id` (32 hexadecimal
    digits) that it is traced.
    """

    __slots__ = ("_control", "_prefix", "_waiting", "id", "lane", "model", "operation", "own", "scheduled", "trace_id")

    def __init__(
        self,
        control: Control,
        waiting: Waiting,
        prefix: str,
        job_id: str,
        *,
        operation: str | None = None,
        model: str | None = None,
        lane: str | None = None,
        own: bool = False,
        scheduled: bool = False,
        trace_id: str | None = None,
    ) -> None:
        self._control = control
        self._waiting = waiting
        self._prefix = prefix
        self.id = job.check_id(job_id)
        self.operation = operation
        self.model = model
        self.lane = lane
        self.own = own
        self.scheduled = scheduled
        self.trace_id = trace_id

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.operation or ''}>".replace(" >", ">")

    async def result(self, timeout: float = RESULT_S) -> Result:  # noqa: ASYNC109
        """Wait for the job's result and return it, any number of times until its retention has passed.

        Raises the error with which the job failed for good, `CallCancelledError` when it was cancelled, and
        `DeadlineExceededError` when there is no result after `timeout` seconds; the job then goes on.
        """
        stored = await self._waiting.wait(self.id, timeout, own=self.own)
        reply = _Reply(stored)
        if header.ERROR_KIND in stored.headers:
            raise _error(stored)
        if header.PAYLOAD in stored.headers:
            client = await self._control.client()
            reply.payload = await payloads.get(client, self._prefix, stored.headers[header.PAYLOAD])
        result = Result(reply, self.trace_id)
        result.tensors()  # raises where it is no frame
        return result

    async def wait(self, timeout: float = RESULT_S) -> JobStatus:  # noqa: ASYNC109
        """Wait until the job is over and return how it ended; raises `DeadlineExceededError` as `result` does."""
        return statuses.of_result(self.id, await self._waiting.wait(self.id, timeout, own=self.own))

    async def status(self) -> JobStatus:
        """Return what is known about the job now.

        A job of which nothing is known counts as queued; so does an id that nobody ever submitted.
        """
        found = await self._waiting.look(self.id)
        if found is not None:
            return statuses.of_result(self.id, found)
        client = await self._control.client()
        subject = job.event_subject(self.id, self._prefix)
        event = await jetstream.last(client, streams.EVENTS, subject, ANSWER_S)
        if event is not None:
            return statuses.of_event(self.id, event.data)
        state = "scheduled" if self.scheduled else "queued"
        return JobStatus(self.id, state, operation=self.operation, model=self.model, lane=self.lane)

    async def events(self) -> AsyncGenerator[JobStatus, None]:
        """Give the job's status now, and then each change until the job is over."""
        client = await self._control.client()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await client.subscribe(job.event_subject(self.id, self._prefix), cb=arrived.put)
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
        found = await self._waiting.look(self.id)
        if found is None:
            client = await self._control.client()
            try:
                subject = job.cancel_subject(self.id, self._prefix)
                await jetstream.publish(client, streams.RESULTS, subject, b"", self._described(), ANSWER_S)
            except jetstream.AlreadyThereError:
                pass  # somebody has asked before
            try:
                found = await self._waiting.wait(self.id, timeout, own=False)
            except DeadlineExceededError:
                return await self.status()
        return statuses.of_result(self.id, found)

    def _sibling(self, job_id: str) -> Job:
        return Job(self._control, self._waiting, self._prefix, job_id, lane=self.lane)

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
