"""One attempt at a job: from what its message says to what is written about it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from npufleet.errors import (
    CallCancelledError,
    DeadlineExceededError,
    FleetError,
    InternalError,
    UnavailableError,
)
from npufleet.wire import header, job
from npufleet.wire.job import JobRequest
from npufleet.worker.jobs.failpoint import passing
from npufleet.worker.reply import failure, steps, success

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from npufleet.telemetry.worker import WorkerTracing
    from npufleet.worker.endpoint import Endpoint
    from npufleet.worker.intake import Intake
    from npufleet.worker.jobs.delivery import Delivery
    from npufleet.worker.jobs.outcome import Outcomes
    from npufleet.worker.request import Outcome

NOWHERE: Final = "unreadable"
"""The operation of a dead letter whose job cannot be read."""


class Services(NamedTuple):
    """What every attempt needs of its worker; `draining` says whether the worker ends."""

    outcomes: Outcomes
    intake: Intake
    tracing: WorkerTracing
    endpoint: Callable[[str, str | None], Awaitable[Endpoint]]
    prefix: str
    draining: Callable[[], bool]


class Attempt:
    """What this worker does with one delivery."""

    def __init__(self, services: Services, delivery: Delivery) -> None:
        self._services = services
        self._outcomes = services.outcomes
        self._delivery = delivery
        self._request = JobRequest("unread", NOWHERE)
        self._number = delivery.delivered

    async def run(self) -> None:
        """Do the job, or settle it in another way; returns when the broker has been told."""
        delivery = self._delivery
        passing("fetched")
        try:
            self._request = JobRequest.parse(
                delivery.message.subject, delivery.headers, delivery.sequence, self._services.prefix
            )
        except FleetError as error:
            self._request = JobRequest(f"{NOWHERE}-{delivery.sequence}", NOWHERE)
            await self._fail(error)
            return
        self._number = self._request.made + delivery.delivered
        delivery.job_id = self._request.job_id
        delivery.attempt = self._number
        if await self._settled() or await self._refused():
            return
        passing("looked")
        await self._outcomes.event(self._request.job_id, "running", self._number)
        started = time.time()
        try:
            outcome = await self._execute(started)
        except FleetError as error:
            await self._failed(error, started)
            return
        if outcome.error is None:
            await self._succeeded(outcome)
        else:
            await self._failed(outcome.error, started)

    async def _settled(self) -> bool:
        """Take the job off the stream if it is over already: done by another worker, or cancelled while it waited."""
        job_id = self._request.job_id
        result, cancelled = await self._outcomes.known(job_id)
        if result is None:
            series = self._request.series
            if series is not None and await self._outcomes.cancel_asked(series):
                await self._outcomes.end_schedule(series)
            elif not cancelled:
                return False
            await self._cancel()
            return True
        if result.headers.get(header.ERROR_KIND) not in (None, CallCancelledError.kind):
            # Whoever wrote that may have died before it wrote the dead letter.
            said = (header.ERROR, header.ERROR_CODE, header.ERROR_KIND, header.ENGINE, header.ATTEMPT, header.WORKER)
            await self._bury({name: result.headers[name] for name in said if name in result.headers})
            await self._delivery.acknowledge()
        else:
            await self._over()
        return True

    async def _refused(self) -> bool:
        """Fail a job that came too late or too often."""
        request = self._request
        if request.deadline is not None and job.now_us() > request.deadline:
            await self._fail(DeadlineExceededError("deadline passed while the job waited"))
        elif self._number > request.retries + 1:
            tries = self._number - 1
            await self._fail(InternalError(f"{tries} attempts began, and no worker lived to finish one"))
        else:
            return False
        return True

    async def _execute(self, started: float) -> Outcome:
        request, services = self._request, self._services
        latest = int((started + request.attempt_timeout) * 1e6)
        deadline = latest if request.deadline is None else min(latest, request.deadline)
        if services.draining():
            raise UnavailableError("the worker stops")
        delivery = self._delivery
        try:
            async with asyncio.timeout(deadline / 1e6 - time.time()):
                endpoint = await services.endpoint(request.operation, request.model)
        except TimeoutError as error:
            raise DeadlineExceededError("deadline passed while the model was loading") from error
        frame = delivery.message.data if request.payload is None else await self._outcomes.fetch(request.payload)
        if delivery.cancelled:
            raise CallCancelledError("cancelled before it began")
        taken = services.intake.take_job(endpoint, request.lane, deadline, delivery.headers, frame)
        taken.fallback_reason = request.fallback_reason
        delivery.request = taken
        assert taken.done is not None  # noqa: S101 - made by take_job
        passing("executing")
        return await taken.done

    async def _succeeded(self, outcome: Outcome) -> None:
        published = time.perf_counter_ns()
        passing("executed")
        request = self._request
        if await self._outcomes.commit_frame(request, self._number, success(outcome), outcome.frame):
            await self._outcomes.event(request.job_id, "succeeded", self._number)
        await self._over()
        caller = outcome.request.caller
        if caller is not None:
            self._services.tracing.write(caller, steps(outcome, published, time.perf_counter_ns()))

    async def _failed(self, error: FleetError, started: float) -> None:
        """Retry, give back or end the job after an attempt that gave no result."""
        request, delivery = self._request, self._delivery
        if delivery.cancelled:
            await self._cancel()
            return
        if self._services.draining():
            await delivery.give_back()
            return
        if isinstance(error, DeadlineExceededError) and (request.deadline is None or job.now_us() < request.deadline):
            spent = time.time() - started
            error = InternalError(f"the attempt was ended after {spent:.1f} s; allowed: {request.attempt_timeout:g} s")
        if delivery.request is not None:
            delivery.request.endpoint.count_error(error)
        if job.is_permanent(error) or self._number > request.retries:
            await self._fail(error)
            return
        pause = job.retry_after(self._number)
        said = {"kind": error.kind, "message": header.one_line(str(error))}
        await self._outcomes.event(
            request.job_id, "retrying", self._number, sure=True, error=said, retry_after=round(pause, 3)
        )
        await delivery.give_back(pause)

    async def _fail(self, error: FleetError) -> None:
        """End the job: its result says why, its dead letter keeps it."""
        request = self._request
        said = failure(error) | {header.ATTEMPT: str(self._number)}
        if await self._outcomes.commit(request, self._number, said):
            detail = {"kind": error.kind, "message": header.one_line(str(error))}
            await self._outcomes.event(request.job_id, "failed", self._number, sure=True, error=detail)
            await self._bury(said)
            await self._delivery.terminate()
        else:
            # It ended in another way meanwhile; what that needs is written where it is seen.
            await self._settled()

    async def _bury(self, said: dict[str, str]) -> None:
        delivery = self._delivery
        await self._outcomes.bury(self._request, delivery.message.data, delivery.headers, said)

    async def _cancel(self) -> None:
        if await self._outcomes.commit(
            self._request, self._number, failure(CallCancelledError("cancelled on request"))
        ):
            await self._outcomes.event(self._request.job_id, "cancelled", self._number)
        await self._over()

    async def _over(self) -> None:
        """Take the job off the stream, and with it the frame that was too large for its message."""
        passing("committed")
        await self._delivery.acknowledge()
        passing("acknowledged")
        await self._outcomes.remove(self._request.payload)
