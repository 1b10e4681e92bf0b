"""All jobs that this worker has: taken as places are free, kept alive while they run, given back when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.broker import streams
from npufleet.errors import CallCancelledError, FleetError
from npufleet.transport.connection import give_up
from npufleet.wire import header, job
from npufleet.wire.contract import VERSION
from npufleet.wire.job import JobRequest
from npufleet.worker.jobs.attempt import Attempt, Services
from npufleet.worker.jobs.pull import Puller
from npufleet.worker.jobs.sweep import Sweep
from npufleet.worker.reply import failure

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.worker.cancel import Canceller
    from npufleet.worker.events import Events
    from npufleet.worker.jobs.delivery import Delivery

QUEUE: Final = "jobs"
"""Queue group of those that write down a cancellation: one of them does."""

SHORT_S: Final = 0.02
AHEAD: Final = 8
"""How many short jobs an executor may have waiting for it, so that it need not wait for the broker."""

ASK_AGAIN_S: Final = 1.0
PROGRESS_S: Final = 0.5
PROGRESS_STEP: Final = 0.1
"""How often progress is told, and how much of it is worth telling."""

_log = logging.getLogger(__name__)


class Jobs:
    """The durable side of one worker with `executors` threads."""

    def __init__(
        self, client: Client, services: Services, executors: int, canceller: Canceller, events: Events
    ) -> None:
        self._client = client
        self._services = services
        self._executors = executors
        self._canceller = canceller
        self._events = events
        self._deliveries: set[Delivery] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._seconds = 1.0
        self._stopped = asyncio.Event()
        names = streams.consumers(services.prefix)
        self._puller = Puller(client, names, self._free, self._begin)
        self._sweep = Sweep(client, names)

    async def run(self) -> None:
        """Take jobs until `drain`; waits for the streams as long as there are none."""
        seconds = await ack_wait(self._client, streams.JOBS, "job-normal", self._stopped)
        if seconds is None:
            return
        cancel = f"{self._services.prefix}.v{VERSION}.cancel.*"
        await self._client.subscribe(cancel, cb=self._cancel_running)
        await self._client.subscribe(cancel, queue=QUEUE, cb=self._write_cancellation)
        self._events.emit("jobs", state="taking")
        keeping = asyncio.create_task(keep_alive(self._deliveries, seconds / 3))
        telling = asyncio.create_task(self._tell_progress())
        sweeping = asyncio.create_task(self._sweep.run())
        try:
            await self._puller.run()
        finally:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            keeping.cancel()
            telling.cancel()
            await give_up(sweeping)
            await self._sweep.sweep()

    async def stop(self) -> None:
        """Take no more jobs; what was delivered by now is given back or done."""
        self._stopped.set()
        await self._puller.stop()

    def reconnected(self) -> None:
        """Ask again: what was asked of the broker went with the connection."""
        self._puller.reconnected()

    def _free(self) -> int:
        ahead = AHEAD if self._seconds < SHORT_S else 1
        return self._executors * ahead - len(self._tasks)

    def _begin(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._work(delivery))
        self._tasks.add(task)
        self._deliveries.add(delivery)

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._deliveries.discard(delivery)
            self._puller.wake()

        task.add_done_callback(ended)

    async def _work(self, delivery: Delivery) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            if self._stopped.is_set():
                await delivery.give_back()
            else:
                await Attempt(self._services, delivery).run()
                self._seconds += 0.1 * (loop.time() - started - self._seconds)
                if delivery.over:
                    self._sweep.over(delivery)
        except (FleetError, nats.errors.Error, OSError) as error:
            # Whoever gets it then sees what has been written.
            _log.warning("job %s is left to be delivered again: %s", delivery.job_id, error or repr(error))
            with contextlib.suppress(nats.errors.Error, OSError):
                await delivery.give_back(ASK_AGAIN_S)

    async def _tell_progress(self) -> None:
        """Say how far the running jobs are, not often: a job has few events, and its history is among them."""
        while True:
            await asyncio.sleep(PROGRESS_S)
            for delivery in list(self._deliveries):
                done = 0.0 if delivery.request is None else delivery.request.progress
                if delivery.told + PROGRESS_STEP <= done < 1.0:
                    delivery.told = done
                    await self._services.outcomes.event(
                        delivery.job_id, "running", delivery.attempt, progress=round(done, 3)
                    )

    async def _cancel_running(self, message: Msg) -> None:
        job_id = message.subject.rpartition(".")[2]
        for delivery in list(self._deliveries):
            if delivery.job_id != job_id:
                continue
            delivery.cancelled = True
            if delivery.request is not None:
                self._canceller.end(delivery.request, CallCancelledError("cancelled on request"))

    async def _write_cancellation(self, message: Msg) -> None:
        """Commit a cancellation as the job's result, wherever the job is: its submitter need not wait for its turn."""
        try:
            request = self._cancelled_job(message)
        except FleetError as error:
            _log.warning("cancellation of nothing: %s", error)
            return
        await self._services.outcomes.end_schedule(request.job_id)
        said = failure(CallCancelledError("cancelled on request"))
        if await self._services.outcomes.commit(request, 0, said):
            await self._services.outcomes.event(request.job_id, "cancelled", 0)

    def _cancelled_job(self, message: Msg) -> JobRequest:
        job_id = job.check_id(message.subject.rpartition(".")[2])
        name = (message.headers or {}).get(header.OPERATION)
        if name is None:
            return JobRequest(job_id, "")
        prefix = self._services.prefix
        lane, operation, model = job.split(f"{prefix}.v{VERSION}.job.{name}", prefix)
        return JobRequest(job_id, operation, model, lane)


async def ack_wait(client: Client, stream: str, consumer: str, stopped: asyncio.Event) -> float | None:
    """Return the seconds after which the broker takes a silent worker for dead; None when we are told to stop.

    Waits for the stream as long as there is none.
    """
    question = f"$JS.API.CONSUMER.INFO.{stream}.{consumer}"
    while not stopped.is_set():
        try:
            answer: dict[str, Any] = json.loads((await client.request(question, timeout=5.0)).data)
            if "config" in answer:
                return float(answer["config"]["ack_wait"]) / streams.NANOSECONDS
        except (nats.errors.Error, OSError):
            pass  # no JetStream, or no broker at the moment
        try:
            async with asyncio.timeout(ASK_AGAIN_S):
                await stopped.wait()
        except TimeoutError:
            continue
    return None


async def keep_alive(deliveries: set[Delivery], seconds: float) -> None:
    """Say of every delivery, again and again, that the work on it goes on."""
    while True:
        await asyncio.sleep(seconds)
        for delivery in list(deliveries):
            try:
                await delivery.keep()
            except (nats.errors.Error, OSError) as error:
                _log.warning("job %s cannot be kept: %s", delivery.job_id, error or repr(error))
