"""`fleet.jobs`: submitting jobs and finding them again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from npufleet.broker import streams
from npufleet.errors import InvalidParameterError
from npufleet.jobs import batch, flow, listing, submit
from npufleet.jobs.dead import DeadLetters
from npufleet.jobs.flow import Flow
from npufleet.jobs.job import Job
from npufleet.jobs.listing import QueueStatus
from npufleet.jobs.status import JobStatus
from npufleet.jobs.waiting import Waiting
from npufleet.jobs.wish import LIMIT, SUBMIT_S
from npufleet.wire import header

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from npufleet.control import Control
    from npufleet.jobs.flow import Stage
    from npufleet.jobs.submit import Message
    from npufleet.jobs.wish import Wish

REPLICAS_MOST: Final = 5
Statuses = list[JobStatus]  # a method below is called list
Queues = list[QueueStatus]
Handles = list[Job]
_Handle = TypeVar("_Handle", bound=Job)


class Jobs:
    """The jobs of one fleet."""

    def __init__(self, control: Control, prefix: str) -> None:
        self._control = control
        self._prefix = prefix
        self._waiting = Waiting(control, prefix)
        self._dead = DeadLetters(control, prefix, self._waiting.inbox, self._job)

    @property
    def dead(self) -> DeadLetters:
        """Jobs that failed for good."""
        return self._dead

    def get(self, job_id: str) -> Job:
        """Return a job by its id, whoever submitted it; nothing is asked of the broker."""
        return Job(self._control, self._waiting, self._prefix, job_id)

    async def list(self, *, state: str | None = None, operation: str | None = None, limit: int = LIMIT) -> Statuses:
        """Return jobs, the latest news first, of a state or an operation if one is given.

        Looked at are the newest `limit` messages of each stream, so a job that has been silent for long may be missing.
        """
        client = await self._control.client()
        return await listing.newest(client, self._prefix, state=state, operation=operation, limit=limit)

    async def retry(self, job_id: str) -> Job:
        """Submit a failed job again as a new job; see `DeadLetters.replay`."""
        return await self._dead.replay(job_id)

    async def purge(self, job_id: str | None = None) -> int:
        """Throw away a failed job, or all of them; returns how many. See `DeadLetters.purge`."""
        return await self._dead.purge(job_id)

    async def queues(self) -> Queues:
        """Return what each lane holds, the most urgent first."""
        return await listing.queues(await self._control.client(), self._prefix)

    async def create_streams(self, *, replicas: int = 1) -> None:
        """Create the streams and consumers that are missing; what is there is left alone. For the operator of a broker.

        `replicas` (1 to 5) is how many nodes of a cluster keep a copy. Raises `UnavailableError` with the server's
        words.
        """
        if isinstance(replicas, bool) or not isinstance(replicas, int) or not 1 <= replicas <= REPLICAS_MOST:
            raise InvalidParameterError(f"replicas is {replicas!r}; allowed: 1 to {REPLICAS_MOST}")
        await streams.create(await self._control.client(), self._prefix, replicas=replicas)

    async def submit(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None,
        model: str | None,
        wish: Wish,
        timeout: float = SUBMIT_S,  # noqa: ASYNC109
    ) -> Job:
        """Submit one job; see `AsyncFleet.submit`."""
        # What is wrong with the arguments is said before a broker is looked for.
        draft = submit.Draft(operation, params, model, wish, prefix=self._prefix, notify="")
        message = draft.message(tensors, key=wish.idempotency_key)
        message.headers[header.NOTIFY] = await self._waiting.inbox()
        await submit.store(self._control, self._prefix, message, timeout)
        return self._job(message)

    async def submit_many(
        self,
        operation: str,
        many: Iterable[object],
        params: Mapping[str, object] | None,
        model: str | None,
        wish: Wish,
        timeout: float = SUBMIT_S,  # noqa: ASYNC109
    ) -> Handles:
        """Submit many jobs; see `AsyncFleet.submit_many`."""
        inbox = await self._waiting.inbox()
        key = wish.idempotency_key
        draft = submit.Draft(operation, params, model, wish, prefix=self._prefix, notify=inbox)
        messages = [
            draft.message(tensors, key=None if key is None else f"{key}/{number}")
            for number, tensors in enumerate(many)
        ]
        storing = asyncio.create_task(batch.store_many(self._control, self._prefix, messages, timeout))
        try:
            await asyncio.sleep(0)
            # Made while the broker is at work.
            handles = [self._job(message) for message in messages]
            await storing
        finally:
            storing.cancel()
        return handles

    async def flow(self, kind: str, stages: Sequence[Stage], wish: Wish, timeout: float = SUBMIT_S) -> Flow:  # noqa: ASYNC109
        """Submit a chain or a group; see `AsyncFleet.chain` and `AsyncFleet.group`."""
        first, message = flow.build(kind, stages, wish, prefix=self._prefix, notify="")
        message.headers[header.NOTIFY] = await self._waiting.inbox()
        await flow.store(self._control, self._prefix, first, message, timeout)
        return self._made(Flow, message)

    def find_flow(self, flow_id: str) -> Flow:
        """Return a chain or a group by its id, whoever submitted it; nothing is asked of the broker."""
        return Flow(self._control, self._waiting, self._prefix, flow_id)

    def _job(self, message: Message) -> Job:
        return self._made(Job, message)

    def _made(self, kind: type[_Handle], message: Message) -> _Handle:
        return kind(
            self._control,
            self._waiting,
            self._prefix,
            message.job_id,
            operation=message.operation,
            model=message.model,
            lane=message.lane,
            own=True,
            scheduled=message.stream == streams.SCHEDULES,
            trace_id=message.trace_id,
        )
