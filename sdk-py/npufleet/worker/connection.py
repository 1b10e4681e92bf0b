"""Reaching the broker, however long it takes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import tenacity

from npufleet.errors import UnavailableError
from npufleet.transport.connection import Client, connect, give_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from npufleet.transport.options import ConnectOptions

LONGEST_WAIT: Final = 2.0

_log = logging.getLogger(__name__)


async def connect_at_last(options: ConnectOptions, **callbacks: Callable[[], Awaitable[None]]) -> Client:
    """Return a connected client that reconnects for ever; tries until it can, at least every 2 seconds."""
    attempts = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(UnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT),
        before_sleep=lambda state: _log.warning("%s", state.outcome.exception() if state.outcome else ""),
    )

    async def once() -> Client:
        # A client that was refused cannot be used again.
        client = Client()
        await connect(client, options, **callbacks)
        return client

    return await attempts(once)


async def first(*works: Coroutine[Any, Any, Any]) -> Any:
    """Wait for whichever is done first, give the others up, and return or raise what it did."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await give_up(*tasks)
    return next(task for task in tasks if task in done).result()
