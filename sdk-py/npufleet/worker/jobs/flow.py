"""One chain or group: submits the jobs of the next stage when those of the one before are over.

Nothing is kept but the plan: how far a flow is, its jobs' results say. So whoever gets the plan goes on where another
worker died, and two that work on the same plan do no harm: a step's job has the same id from either.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from npufleet.broker import streams
from npufleet.errors import CallCancelledError, FleetError, InternalError, from_kind
from npufleet.transport import jetstream, payloads
from npufleet.transport.together import together
from npufleet.wire import frame, header, job
from npufleet.wire.flow import Flow, Member
from npufleet.wire.flow import request as request_of
from npufleet.wire.job import JobRequest
from npufleet.wire.rules.common import check_result
from npufleet.worker.jobs.outcome import insist
from npufleet.worker.reply import failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nats.aio.client import Client

    from npufleet.transport.jetstream import Stored
    from npufleet.wire.flow import Arrays
    from npufleet.worker.jobs.delivery import Delivery
    from npufleet.worker.jobs.outcome import Outcomes

ANSWER_S: Final = 5.0
LOOK_FIRST_S: Final = 1.0
LOOK_LONGEST_S: Final = 15.0
AT_ONCE: Final = 16
ASKED_AT_ONCE: Final = 64
DELIVERIES: Final = 1000
"""A plan may live through many restarts of workers; one that ends them all must still end itself."""

UNREADABLE: Final = "unreadable"
_COPIED: Final = (header.ENGINE, header.DEVICE, header.TIMING, header.FALLBACK_REASON, header.PAYLOAD)
_TRACE: Final = (header.TRACEPARENT, header.TRACESTATE)


class Over(Exception):  # noqa: N818 - no error: the flow has a result that was written elsewhere
    """The flow has ended in another way, as by its cancellation."""


class Run:
    """What this worker does with one plan while it has it."""

    def __init__(self, client: Client, outcomes: Outcomes, prefix: str, delivery: Delivery) -> None:
        self._client = client
        self._outcomes = outcomes
        self._prefix = prefix
        self.delivery = delivery
        self._request = JobRequest(f"{UNREADABLE}-{delivery.sequence}", UNREADABLE)
        self._news: set[str] = set()
        self._told = asyncio.Event()

    def tell(self, job_id: str) -> None:
        """Say that something happened to one of the flow's jobs, or to the flow itself."""
        self._news.add(job_id)
        self._told.set()

    async def run(self) -> None:
        """See the flow through to its result; raises `UnavailableError` where another try may help."""
        delivery = self.delivery
        try:
            request = JobRequest.parse(delivery.message.subject, delivery.headers, delivery.sequence, self._prefix)
        except FleetError as error:
            await self._fail(error)
            return
        self._request = request
        delivery.job_id = request.job_id
        flow: Flow | None = None
        try:
            if delivery.delivered > DELIVERIES:
                raise InternalError(f"{DELIVERIES} workers had the plan, and none lived to finish it")
            data = delivery.message.data if request.payload is None else await self._outcomes.fetch(request.payload)
            flow, constants = Flow.decode(data)
            try:
                await self._stages(flow, constants)
            except Over:
                await self._cancel_rest(flow)
                await self._end()
            except _StepFailed as failed:
                await self._fail(failed.error, flow)
        except FleetError as error:
            if not job.is_permanent(error) and not isinstance(error, InternalError):
                raise  # the broker is away
            await self._fail(error, flow)

    async def _stages(self, flow: Flow, constants: Arrays) -> None:
        await self._look_whether_over()
        before: Sequence[Member] = ()
        for index, stage in enumerate(flow.stages):
            if before:
                await self._submit(stage, before, constants)
            await self._wait(stage, index / len(flow.stages))
            before = stage
        await self._succeed(before)

    async def _submit(self, stage: Sequence[Member], before: Sequence[Member], constants: Arrays) -> None:
        """Submit what is not over already; what is on its way is dropped by the broker, or by whoever takes it."""
        done = await self._done(stage)
        missing = [member for member in stage if member.job_id(self._request.job_id) not in done]
        if not missing:
            return
        given: list[Arrays] = [{}] * len(before)
        size = 0

        async def read(index: int) -> None:
            nonlocal size
            stored = await self._stored(before[index])
            reference = stored.headers.get(header.PAYLOAD)
            size += len(stored.data) if reference is None else payloads.Reference.parse(reference).size
            with before[index].naming():
                check_result(size)
                data = stored.data if reference is None else await self._outcomes.fetch(reference)
                given[index] = frame.decode(data)[0]

        await together(read, range(len(before)), AT_ONCE)

        async def submit(member: Member) -> None:
            await self._submit_one(member, before, given, constants)

        await together(submit, missing, AT_ONCE)

    async def _submit_one(
        self, member: Member, before: Sequence[Member], given: Sequence[Arrays], constants: Arrays
    ) -> None:
        def build() -> bytes:
            try:
                return request_of(member, before, given, constants)
            except FleetError:
                raise
            except Exception as error:
                with member.naming():
                    raise InternalError(f"its request could not be made: {type(error).__name__}: {error}") from error

        data = await asyncio.to_thread(build)
        flow, job_id = self._request, member.job_id(self._request.job_id)
        request = replace(
            flow,
            job_id=job_id,
            operation=member.step["operation"],
            model=member.step.get("model"),
            submitted=job.now_us(),
            notify=job.advance_subject(flow.job_id, self._prefix),
            idempotency_key=None,
            payload=None,
        )
        if len(data) > job.INLINE_BYTES:
            path = f"{job_id}.{payloads.INPUT}"
            stored = await insist(path, lambda: payloads.put(self._client, self._prefix, path, data))
            request, data = replace(request, payload=str(stored)), b""
        traced = {name: self.delivery.headers[name] for name in _TRACE if name in self.delivery.headers}
        headers = request.headers() | traced | {jetstream.EXPECTED_STREAM: streams.JOBS, header.MESSAGE_ID: job_id}
        subject = request.subject(self._prefix)
        await insist(
            job_id,
            lambda: jetstream.publish(self._client, streams.JOBS, subject, data, headers, ANSWER_S),
        )

    async def _wait(self, stage: Sequence[Member], progress: float) -> None:
        """Wait until every step of a stage has succeeded; raises `_StepFailed`, or `Over`."""
        members = {member.job_id(self._request.job_id): member for member in stage}
        missing = set(members)
        asked: Iterable[str] = members
        pause = LOOK_FIRST_S
        while missing:
            self._told.clear()
            self._news.clear()
            for job_id, stored in (await self._results(asked)).items():
                if header.ERROR_KIND in stored.headers:
                    raise _StepFailed(_error(members[job_id], stored))
                missing.discard(job_id)
            await self._look_whether_over()
            if not missing:
                return
            if asked is members:
                await self._say("running", progress=progress)
            try:
                async with asyncio.timeout(pause):
                    await self._told.wait()
                asked = missing & self._news
            except TimeoutError:
                # What one is told may be lost; the results are not.
                asked, pause = missing, min(pause * 1.5, LOOK_LONGEST_S)

    async def _done(self, stage: Sequence[Member]) -> set[str]:
        return set(await self._results(member.job_id(self._request.job_id) for member in stage))

    async def _results(self, job_ids: Iterable[str]) -> dict[str, Stored]:
        """Return which of the jobs have a result, without their frames."""
        wanted = [(job_id, job.result_subject(job_id, self._prefix)) for job_id in job_ids]
        by_subject = {subject: job_id for job_id, subject in wanted}
        found: dict[str, Stored] = {}
        for start in range(0, len(wanted), ASKED_AT_ONCE):
            question = {"multi_last": [subject for _, subject in wanted[start : start + ASKED_AT_ONCE]]}
            for stored in await jetstream.scan(self._client, streams.RESULTS, question, ANSWER_S):
                found[by_subject[stored.subject]] = replace(stored, data=b"")
        return found

    async def _stored(self, member: Member) -> Stored:
        found = await self._outcomes.result(member.job_id(self._request.job_id))
        if found is None:
            raise InternalError(f"step {member.stage} ({member.operation}): its result has passed its retention")
        return found

    async def _look_whether_over(self) -> None:
        result, cancelled = await self._outcomes.known(self._request.job_id)
        if result is not None:
            raise Over
        if cancelled:
            error = CallCancelledError("cancelled on request")
            if await self._outcomes.commit(self._request, 0, failure(error)):
                await self._say("cancelled")
            raise Over

    async def _succeed(self, last: Sequence[Member]) -> None:
        """Commit the result of the last step as the flow's; of a group, how to find its members' results."""
        if last[0].count:
            said = {header.ENGINE: "python"}
            data = frame.encode({}, {"members": len(last), "stage": last[0].stage})
        else:
            stored = await self._stored(last[0])
            said = {name: stored.headers[name] for name in _COPIED if name in stored.headers}
            data = stored.data
        if await self._outcomes.commit(self._request, self.delivery.delivered, said, data):
            await self._say("succeeded", progress=1.0)
        await self._end()

    async def _fail(self, error: FleetError, flow: Flow | None = None) -> None:
        """End the flow with the error of a step, and cancel the steps beside it."""
        if await self._outcomes.commit(self._request, self.delivery.delivered, failure(error)):
            state = "cancelled" if isinstance(error, CallCancelledError) else "failed"
            await self._say(state, error={"kind": error.kind, "message": header.one_line(str(error))})
        if flow is not None:
            await self._cancel_rest(flow)
        await self._end()

    async def _end(self) -> None:
        await self.delivery.acknowledge()
        await self._outcomes.remove(self._request.payload)

    async def _cancel_rest(self, flow: Flow) -> None:
        """Cancel what has been submitted and is not over: jobs of the first stage that is not done."""
        for stage in flow.stages:
            done = await self._done(stage)
            rest = [member for member in stage if member.job_id(self._request.job_id) not in done]
            if rest:
                await together(self._cancel, rest, AT_ONCE)
                return

    async def _cancel(self, member: Member) -> None:
        job_id = member.job_id(self._request.job_id)
        subject = job.cancel_subject(job_id, self._prefix)
        request = JobRequest(job_id, member.step["operation"], member.step.get("model"), self._request.lane)
        said = {header.OPERATION: request.name}
        try:
            await insist(
                subject,
                lambda: jetstream.publish(self._client, streams.RESULTS, subject, b"", said, ANSWER_S),
            )
        except jetstream.AlreadyThereError:
            return  # somebody has asked before

    async def _say(self, state: str, **more: Any) -> None:
        await self._outcomes.event(self._request.job_id, state, self.delivery.delivered, **more)


class _StepFailed(Exception):  # noqa: N818 - carries the step's own error past the question whether to try again
    def __init__(self, error: FleetError) -> None:
        super().__init__(str(error))
        self.error = error


def _error(member: Member, stored: Stored) -> FleetError:
    said = stored.headers
    kind = said[header.ERROR_KIND]
    text = f"step {member.stage} ({member.operation}): {said.get(header.ERROR, kind)}"
    return from_kind(kind, text, engine=said.get(header.ENGINE))
