"""Ends requests that nobody waits for: cancelled ones, expired ones, and threads that hang in them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from npufleet.errors import CallCancelledError, DeadlineExceededError, FleetError
from npufleet.wire.subject import ROUTES
from npufleet.worker.request import Outcome

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from npufleet.worker.executor import Executors
    from npufleet.worker.intake import Intake
    from npufleet.worker.queue import RequestQueue
    from npufleet.worker.reply import Replies
    from npufleet.worker.request import Request

SWEEP_SECONDS: Final = 0.05


class Canceller:
    """Answers requests before their execution ends or even starts."""

    def __init__(self, intake: Intake, queue: RequestQueue, replies: Replies) -> None:
        self._intake = intake
        self._queue = queue
        self._replies = replies

    async def receive(self, message: Msg) -> None:
        """Cancel the call that the subject names.

        A queued one is removed, the result of a running one is dropped, and the frame of one that came without is not
        fetched any further.
        """
        call_id = ".".join(message.subject.split(".")[-2:])
        for route in ROUTES:
            request = self._intake.by_call_id.get((call_id, route))
            if request is None:
                self._intake.fetching.cancel((call_id, route))
            else:
                self.end(request, CallCancelledError("cancelled by the caller"))

    def end(self, request: Request, error: FleetError) -> None:
        """Answer a request with an error now."""
        self._queue.discard(request)
        self._replies.add(Outcome(request, error=error))

    async def sweep(self, executors: Executors) -> None:
        """Answer what has expired, many times a second, and replace threads that hang; cancel it to stop."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for request in [request for request in self._intake.in_flight.values() if request.expired()]:
                where = "was executed" if request.started else "waited"
                self.end(request, DeadlineExceededError(f"deadline passed while the request {where}"))
            executors.replace_hung()
