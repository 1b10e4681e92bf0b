"""What to do after a reply that is no result: ask the other engine, ask again, or raise."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from npufleet.errors import (
    FleetError,
    InvalidFrameError,
    OverloadedError,
    PayloadTooLargeError,
    UnavailableError,
    from_kind,
)
from npufleet.transport import NO_RESPONDERS
from npufleet.wire import header

if TYPE_CHECKING:
    from npufleet.call import Target
    from npufleet.statistics import Counters
    from npufleet.transport import Flight, Transport

Diagnose = Callable[[str], Awaitable[FleetError]]
"""Says what is wrong with a model that nobody serves."""

HANDS_OVER: Final = frozenset(
    {"internal", "unsupported", "device_lost", "unavailable", "unknown_operation", "unknown_model"}
)
"""Error kinds after which the other engine is asked once."""

NOT_READ: Final = frozenset({"payload_lost", "invalid_frame"})
"""Error kinds after which a frame that was not in its message is sent in one; the second is what a worker says that
knows no claims."""

ATTEMPTS: Final = 3
"""How often a request is sent when every answer is `overloaded`."""

FIRST_RETRY_S: Final = 0.02


class Recovery:
    """The second and later requests of one call, all within its deadline."""

    def __init__(
        self, transport: Transport, counters: Counters, diagnose: Diagnose, target: Target, first: Flight
    ) -> None:
        self._transport = transport
        self._counters = counters
        self._diagnose = diagnose
        self._target = target
        self._request = first
        self._subject = target.call
        self._sent = 1
        self._first: FleetError | None = None
        self._reason: str | None = None
        self._sent_inline = False
        self._accepts = False

    @property
    def fallen_back(self) -> bool:
        """Whether the fallback engine has been asked."""
        return self._reason is not None

    async def after(self, reply: Flight, hedge: Flight | None) -> Flight:
        """Return the next request, or raise what the caller has to know.

        `hedge` is the request that the fallback engine got already because half of the time had passed.
        """
        if reply.status == NO_RESPONDERS:
            if not self.fallen_back:
                return self._fall_back("no_responders", hedge)
            raise self._first or await self._nobody()
        error = error_of(reply)
        if isinstance(error, OverloadedError):
            if hedge is not None:
                return self._fall_back("no_answer", hedge)
            await self._wait(error)
            return self._send()
        if error.kind in NOT_READ and not self._sent_inline and reply.placement != "inline":
            return self._send_inline(error)
        if isinstance(error, PayloadTooLargeError) and not self._accepts and self._transport.accept():
            # The result was: it may come another way than through the broker.
            self._accepts = True
            return self._send()
        if error.kind in HANDS_OVER and not self.fallen_back and error.engine != "python":
            self._first = error
            return self._fall_back(header.one_line(f"{error.kind}: {error}"), hedge)
        if self._first is not None:
            error.add_note(f"the {self._first.engine or 'first'} engine said {self._first.kind}: {self._first}")
        raise error

    def _fall_back(self, reason: str, hedge: Flight | None) -> Flight:
        self._reason = reason
        self._subject = self._target.fallback
        if hedge is not None:
            return hedge
        return self._send()

    def _send(self) -> Flight:
        request = self._request
        # Asked twice, the fallback engine would not answer sooner.
        half_time = self._reason is None
        return self._transport.request(
            self._subject, request.frame, request.deadline_us, self._headers(), self._target, half_time
        )

    def _headers(self) -> dict[str, str] | None:
        headers = self._request.headers
        return headers if self._reason is None else {**(headers or {}), header.FALLBACK_REASON: self._reason}

    def _send_inline(self, lost: FleetError) -> Flight:
        """Send a frame through the broker that the worker could not read where it lay."""
        self._sent_inline = True
        request = self._request
        try:
            return self._transport.request_inline(
                self._subject, request.frame, request.deadline_us, self._headers(), self._target
            )
        except PayloadTooLargeError as error:
            text = f"the worker cannot read the frame from this process's arena ({lost}), and inline the {error}"
            raise PayloadTooLargeError(text, size=error.size, limit=error.limit) from lost

    async def _wait(self, error: OverloadedError) -> None:
        """Wait as long as the worker asks for, and half as long again at random; raise when that is no use."""
        pause = max(error.retry_after or 0.0, FIRST_RETRY_S * 2 ** (self._sent - 1))
        pause *= random.uniform(1.0, 1.5)  # noqa: S311 - spreads callers, hides nothing
        if self._sent >= ATTEMPTS or time.time() + pause >= self._request.deadline_us / 1e6:
            raise error
        self._sent += 1
        self._counters.retries += 1
        await asyncio.sleep(pause)

    async def _nobody(self) -> FleetError:
        """Say why neither engine listens."""
        target = self._target
        if target.model is None:
            return UnavailableError(f"no worker answers for {target.operation.name}; start one with `npufleet worker`")
        try:
            async with asyncio.timeout(max(0.0, self._request.deadline_us / 1e6 - time.time())):
                return await self._diagnose(target.model)
        except TimeoutError:
            return UnavailableError(f"no worker serves model '{target.model}'")


def error_of(reply: Flight) -> FleetError:
    """Build the exception for a reply without a frame."""
    kind = reply.header(header.ERROR_KIND)
    if kind is None:
        return InvalidFrameError("the reply has neither a frame nor an error kind")
    wait = reply.header(header.RETRY_AFTER)
    return from_kind(
        kind,
        reply.header(header.ERROR) or kind,
        engine=reply.header(header.ENGINE),
        retry_after=int(wait) / 1e6 if wait is not None and wait.isdecimal() else None,
    )
