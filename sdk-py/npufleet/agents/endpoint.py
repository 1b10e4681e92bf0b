"""One subject that an agent listens to: each message handled in a task of its own, answered, and counted."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.errors import DeadlineExceededError, FleetError, InternalError, UnavailableError
from npufleet.telemetry.hop import hop
from npufleet.wire import header

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

SERVICE: Final = "npufleet-agent"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counters:
    """What one endpoint has done; `processing_time` is in nanoseconds."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""
    processing_time: int = 0


class Endpoint:
    """`handle` gets each message and the headers of its trace, and answers it; an error goes to `refuse`."""

    def __init__(
        self,
        name: str,
        subject: str,
        queue: str,
        handle: Callable[[Msg, dict[str, str]], Awaitable[None]],
        refuse: Callable[[Msg, FleetError], Awaitable[None]],
    ) -> None:
        self.name = name
        self.subject = subject
        self.queue = queue
        self.counted = Counters()
        self._handle = handle
        self._refuse = refuse
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    async def start(self, client: Client, places: asyncio.Semaphore) -> None:
        """Listen; a message waits for a place, so that a burst does not become that many tasks."""

        async def receive(message: Msg) -> None:
            await places.acquire()
            task = asyncio.create_task(self._work(message))
            self._tasks.add(task)

            def ended(_: asyncio.Task[None]) -> None:
                self._tasks.discard(task)
                places.release()

            task.add_done_callback(ended)

        self._subscription = await client.subscribe(self.subject, queue=self.queue, cb=receive)

    async def drain(self, seconds: float) -> None:
        """Take nothing more, finish what has come, and cancel what is not done in time."""
        if self._subscription is not None:
            try:
                # Unsubscribes, and waits until what was sent before has been taken in.
                await asyncio.wait_for(self._subscription.drain(), seconds)  # type: ignore[no-untyped-call]
            except (nats.errors.Error, TimeoutError) as error:
                _log.warning("subscription to %s: %s", self.subject, error or repr(error))
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, message: Msg) -> None:
        started = time.perf_counter_ns()
        self.counted.requests += 1
        headers = dict(message.headers or {})
        told = {"messaging.system": "nats", "messaging.destination.name": message.subject}
        try:
            with hop(SERVICE, f"process {self.name}", headers, told) as traced:
                await self._in_time(message, headers, traced)
        except FleetError as error:
            await self._failed(message, error)
        except asyncio.CancelledError:
            await self._failed(message, UnavailableError("the agent stopped before it was done"))
            raise
        except Exception as error:  # noqa: BLE001 - becomes the typed error of who asked
            _log.error("%s failed", self.name, exc_info=error)
            await self._failed(message, InternalError(f"{type(error).__name__}: {error}"))
        finally:
            self.counted.processing_time += time.perf_counter_ns() - started

    async def _in_time(self, message: Msg, headers: dict[str, str], traced: dict[str, str]) -> None:
        if header.DEADLINE not in headers:
            await self._handle(message, traced)
            return
        seconds = header.microseconds(header.DEADLINE, headers[header.DEADLINE]) / 1e6 - time.time()
        try:
            async with asyncio.timeout(seconds) as limit:
                await self._handle(message, traced)
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineExceededError("the deadline passed while the agent worked") from error
            raise

    async def _failed(self, message: Msg, error: FleetError) -> None:
        self.counted.errors += 1
        self.counted.last_error = f"{error.code}:{header.one_line(str(error))}"
        try:
            await self._refuse(message, error)
        except (nats.errors.Error, OSError) as lost:
            _log.warning("an error of %s could not be sent: %s", self.name, lost or repr(lost))

    def information(self) -> dict[str, Any]:
        """Return the endpoint's entry in the service protocol's INFO answer."""
        return {"name": self.name, "subject": self.subject, "queue_group": self.queue, "metadata": {}}

    def counters(self) -> dict[str, Any]:
        """Return the endpoint's entry in the service protocol's STATS answer."""
        counted = self.counted
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue,
            "num_requests": counted.requests,
            "num_errors": counted.errors,
            "last_error": counted.last_error,
            "processing_time": counted.processing_time,
            "average_processing_time": counted.processing_time // max(counted.requests, 1),
        }
