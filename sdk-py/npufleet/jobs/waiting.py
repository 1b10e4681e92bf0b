"""Results as they are committed: one subscription hears of all jobs of this process, and asking makes up for loss."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

from npufleet.broker import streams
from npufleet.errors import DeadlineExceededError, UnavailableError
from npufleet.transport import jetstream
from npufleet.wire import job

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.control import Control
    from npufleet.transport.jetstream import Stored

ANSWER_S: Final = 2.0
OWN_FIRST_S: Final = 2.0
OWN_LONGEST_S: Final = 30.0
FOREIGN_FIRST_S: Final = 0.05
FOREIGN_LONGEST_S: Final = 2.0


class Waiting:
    """Who waits for which job in this process."""

    def __init__(self, control: Control, prefix: str) -> None:
        self._control = control
        self._prefix = prefix
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._inbox: str | None = None
        self._heard_by: Client | None = None
        self._subscribing = asyncio.Lock()

    @property
    def hears(self) -> bool:
        """Whether `inbox` is listened to."""
        return self._heard_by is not None and not self._heard_by.is_closed

    async def inbox(self) -> str:
        """Return the subject on which workers say that a job of ours is over; the same for all of them."""
        client = await self._control.client()
        if self._inbox is not None and self._heard_by is client:
            return self._inbox
        async with self._subscribing:
            if self._inbox is None or self._heard_by is not client:
                subject = self._inbox or client.new_inbox()
                await client.subscribe(subject, cb=self._notice)
                self._inbox, self._heard_by = subject, client
        return self._inbox

    async def look(self, job_id: str) -> Stored | None:
        """Return a job's result if it is committed."""
        client = await self._control.client()
        return await jetstream.last(client, streams.RESULTS, job.result_subject(job_id, self._prefix), ANSWER_S)

    async def wait(self, job_id: str, seconds: float, *, own: bool) -> Stored:
        """Wait for a job's result; `own` means that a worker tells us.

        Raises `DeadlineExceededError` when there is none after so many seconds, the job goes on; `UnavailableError`
        when the broker is away at that time.
        """
        end = time.monotonic() + seconds
        pause, longest = (OWN_FIRST_S, OWN_LONGEST_S) if own else (FOREIGN_FIRST_S, FOREIGN_LONGEST_S)
        told = asyncio.Event()
        self._waiters.setdefault(job_id, set()).add(told)
        try:
            while True:
                try:
                    if (found := await self.look(job_id)) is not None:
                        return found
                except UnavailableError:
                    # The broker may be back before our time is over.
                    if time.monotonic() >= end:
                        raise
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlineExceededError(f"job {job_id} has no result after {seconds:g} s; it goes on")
                told.clear()
                spread = pause * random.uniform(0.8, 1.2)  # noqa: S311 - spreads askers, hides nothing
                try:
                    async with asyncio.timeout(min(spread, left)):
                        await told.wait()
                except TimeoutError:
                    pause = min(pause * 1.5, longest)
        finally:
            waiters = self._waiters[job_id]
            waiters.discard(told)
            if not waiters:
                del self._waiters[job_id]

    async def _notice(self, message: Msg) -> None:
        for told in self._waiters.get(message.data.decode("ascii", "replace"), ()):
            told.set()
