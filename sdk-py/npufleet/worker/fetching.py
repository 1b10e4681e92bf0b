"""Frames of requests on their way over the channel, until they are here or their calls are cancelled."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from npufleet.errors import CallCancelledError

if TYPE_CHECKING:
    from npufleet.payload.remote import Remote
    from npufleet.wire.claim import Claim

FETCHES: Final = 16
"""Frames that are fetched at once; each takes a thread, and memory as it arrives."""


class Fetching:
    """Fetches frames for calls, each named by its id and the route that it came by."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._threads = ThreadPoolExecutor(FETCHES, "npufleet-fetch")
        self._under_way: dict[tuple[str | None, str], tuple[threading.Event, Future[bytes]]] = {}

    async def fetch(self, call: tuple[str | None, str], claim: Claim, channel: str, deadline_us: int) -> bytes:
        """Return a frame; raises as `Remote.fetch`, `CallCancelledError` after `cancel`."""
        given_up = threading.Event()
        future = self._threads.submit(
            self._remote.fetch, claim, channel, deadline_us, lambda: not given_up.is_set(), release=False
        )
        self._under_way[call] = given_up, future
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if given_up.is_set():
                raise CallCancelledError("cancelled by the caller") from None
            raise
        finally:
            self._under_way.pop(call, None)

    def cancel(self, call: tuple[str, str]) -> None:
        """End the fetching for a call, if its frame is not here yet."""
        if call in self._under_way:
            given_up, future = self._under_way[call]
            given_up.set()
            # One that waits for a thread ends here, one that has a thread when it looks next.
            future.cancel()
