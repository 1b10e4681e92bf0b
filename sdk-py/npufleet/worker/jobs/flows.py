"""All chains and groups that this worker sees through: plans taken from the stream FLOWS, and what it hears of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import nats.errors

from npufleet.broker import streams
from npufleet.errors import FleetError
from npufleet.wire import job
from npufleet.worker.jobs.consumer import ASK_AGAIN_S, ack_wait, keep_alive
from npufleet.worker.jobs.flow import Run
from npufleet.worker.jobs.pull import Puller
from npufleet.worker.jobs.sweep import Sweep

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.worker.jobs.delivery import Delivery
    from npufleet.worker.jobs.outcome import Outcomes

AT_ONCE: Final = 256
"""Plans that one worker holds; the others wait for it, or for another worker."""

_log = logging.getLogger(__name__)


class Flows:
    """The coordinator of one worker; it takes no executor's place."""

    def __init__(self, client: Client, outcomes: Outcomes, prefix: str) -> None:
        self._client = client
        self._outcomes = outcomes
        self._prefix = prefix
        self._tasks: dict[asyncio.Task[None], Run] = {}
        self._deliveries: set[Delivery] = set()
        self._stopped = asyncio.Event()
        names = streams.consumers(prefix, streams.FLOWS)
        self._puller = Puller(client, names, lambda: AT_ONCE - len(self._tasks), self._begin, streams.FLOWS)
        # A plan leaves by its acknowledgement, unless the broker was killed over that.
        self._sweep = Sweep(client, names, streams.FLOWS)

    async def run(self) -> None:
        """Take plans until `stop`; waits for the stream as long as there is none."""
        seconds = await ack_wait(self._client, streams.FLOWS, "flow-normal", self._stopped)
        if seconds is None:
            return
        await self._client.subscribe(job.advance_subject("*", self._prefix), cb=self._step_over)
        await self._client.subscribe(job.cancel_subject("*", self._prefix), cb=self._cancelled)
        keeping = asyncio.create_task(keep_alive(self._deliveries, seconds / 3))
        sweeping = asyncio.create_task(self._sweep.run())
        try:
            await self._puller.run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            keeping.cancel()
            sweeping.cancel()

    async def stop(self) -> None:
        """Take no more plans, and give back those that are held: another worker goes on with them."""
        self._stopped.set()
        await self._puller.stop()

    def reconnected(self) -> None:
        """Ask again: what was asked of the broker went with the connection."""
        self._puller.reconnected()

    def _begin(self, delivery: Delivery) -> None:
        run = Run(self._client, self._outcomes, self._prefix, delivery)
        task = asyncio.create_task(self._work(run))
        self._tasks[task] = run
        self._deliveries.add(delivery)

        def ended(_: asyncio.Task[None]) -> None:
            del self._tasks[task]
            self._deliveries.discard(delivery)
            self._puller.wake()

        task.add_done_callback(ended)

    async def _work(self, run: Run) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # the worker ends
            while not self._stopped.is_set():
                try:
                    await run.run()
                except (FleetError, nats.errors.Error, OSError) as error:
                    # Not given back: deliveries are counted, and whoever gets it has the same broker.
                    _log.warning("flow %s waits for the broker: %s", run.delivery.job_id, error or repr(error))
                    await asyncio.sleep(ASK_AGAIN_S)
                else:
                    return
        with contextlib.suppress(nats.errors.Error, OSError):
            await run.delivery.give_back()

    async def _step_over(self, message: Msg) -> None:
        self._tell(message.subject.rpartition(".")[2], message.data.decode("ascii", "replace"))

    async def _cancelled(self, message: Msg) -> None:
        flow_id = message.subject.rpartition(".")[2]
        self._tell(flow_id, flow_id)

    def _tell(self, flow_id: str, job_id: str) -> None:
        for run in self._tasks.values():
            if run.delivery.job_id == flow_id:
                run.tell(job_id)
