"""`fleet.jobs`: submitting jobs and finding them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from npufleet.broker import streams
from npufleet.errors import FleetError, InvalidParameterError
from npufleet.jobs import batch, flow, listing, submit
from npufleet.jobs.dead import DeadLetters
from npufleet.jobs.flow import Flow
from npufleet.jobs.job import Job, Origin
from npufleet.jobs.listing import QueueStatus
from npufleet.jobs.status import JobStatus
from npufleet.jobs.waiting import Waiting
from npufleet.jobs.way import Ways
from npufleet.jobs.wish import LIMIT, SUBMIT_S
from npufleet.telemetry.spans import start_call
from npufleet.wire import header, job

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from npufleet.control import Control
    from npufleet.jobs.flow import Stage
    from npufleet.jobs.submit import Message
    from npufleet.jobs.wish import Wish
    from npufleet.transport import Transport

REPLICAS_MOST: Final = 5
Statuses = list[JobStatus]  # a method below is called list
Queues = list[QueueStatus]
Handles = list[Job]


class Jobs:
    """The jobs of one fleet."""

    def __init__(self, control: Control, transport: Transport, prefix: str) -> None:
        self._control = control
        self._transport = transport
        self._prefix = prefix
        self._waiting = Waiting(control, prefix)
        self._origin = Origin(control, self._waiting, prefix)
        self._ways = Ways(self._origin)
        self._dead = DeadLetters(control, prefix, self._waiting.inbox, self._job)

    @property
    def dead(self) -> DeadLetters:
        """Jobs that failed for good."""
        return self._dead

    def get(self, job_id: str) -> Job:
        """Return a job by its id, whoever submitted it; nothing is asked of the broker."""
        return Job(self._origin, job.check_id(job_id))

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
        way = self._ways.find(operation, params, model, wish)
        headers, job_id = way.own(wish, wish.idempotency_key)
        span = start_call(operation, way.draft.subject, wish.lane, "submit")
        if way.route is not None and span is None and self._waiting.hears:
            flight = way.route.begin(tensors, min(submit.ANSWER_S, timeout), headers, job_id)
            if flight is not None:
                try:
                    await flight
                    stored = flight.plain
                except FleetError:
                    stored = False
                if not stored:
                    # What that means, or that it is there after all, is found by trying again.
                    message = way.message(flight.origin, flight.frame, headers)
                    await submit.store(self._control, self._prefix, message, timeout, flight)
                return Job(way.origin, flight.origin)
        # What is wrong with the arguments is said before a broker is looked for.
        traced = {} if span is None else span.headers
        message = way.draft.message(tensors, job_id=job_id, headers=headers, traced=traced)
        if span is not None:
            span.end()
        inbox = await self._waiting.inbox()
        message.headers[header.NOTIFY] = inbox
        way.open(self._transport, inbox)
        if way.route is not None and message.payload is None:
            way.route.learn(tensors, message.frame)
        await submit.store(self._control, self._prefix, message, timeout)
        return Job(way.origin, message.job_id, None if span is None else span.trace_id)

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
        way = self._ways.find(operation, params, model, wish)
        way.open(self._transport, await self._waiting.inbox())
        each = list(many)
        if not each:
            return []
        numbered = (
            (number, start_call(operation, way.draft.subject, wish.lane, "submit")) for number in range(len(each))
        )
        spans = {number: span for number, span in numbered if span is not None}
        packed = way.pack(each, wish, spans)
        if packed is not None:
            handles = await batch.store_packed(way, packed, timeout)
        else:
            messages = list(way.messages(each, wish, spans))
            await batch.store_many(self._control, self._prefix, messages, timeout)
            handles = [Job(way.origin, message.job_id) for message in messages]
        for number, span in spans.items():
            span.end()
            handles[number].trace_id = span.trace_id
        return handles

    async def flow(self, kind: str, stages: Sequence[Stage], wish: Wish, timeout: float = SUBMIT_S) -> Flow:  # noqa: ASYNC109
        """Submit a chain or a group; see `AsyncFleet.chain` and `AsyncFleet.group`."""
        first, message = flow.build(kind, stages, wish, prefix=self._prefix, notify="")
        message.headers[header.NOTIFY] = await self._waiting.inbox()
        await flow.store(self._control, self._prefix, first, message, timeout)
        return Flow(self._origin_of(message), message.job_id, message.trace_id)

    def find_flow(self, flow_id: str) -> Flow:
        """Return a chain or a group by its id, whoever submitted it; nothing is asked of the broker."""
        return Flow(self._origin, job.check_id(flow_id))

    def _job(self, message: Message) -> Job:
        return Job(self._origin_of(message), message.job_id, message.trace_id)

    def _origin_of(self, message: Message) -> Origin:
        return self._origin._replace(operation=message.operation, model=message.model, lane=message.lane, own=True)
