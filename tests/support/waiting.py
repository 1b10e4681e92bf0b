"""Waiting for what no event announces."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Value = TypeVar("Value")
PATIENCE_S = 30.0


async def until(
    condition: Callable[[], Value | Awaitable[Value]], what: str = "the condition", seconds: float = PATIENCE_S
) -> Value:
    """Return the first true value of a condition, plain or to be awaited."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value  # type: ignore[return-value]
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], Value], what: str = "the condition", seconds: float = PATIENCE_S) -> Value:
    """Return the first true value of a condition, blocking."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        pause.wait(0.01)
    return value


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
