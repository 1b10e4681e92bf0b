"""One child that is kept running: started, watched, started again with back-off when it dies."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from npufleet.broker.child import Child
from npufleet.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

FIRST_BACK_OFF = 0.5
LONGEST_BACK_OFF = 10.0
"""Seconds before a crashed child is started again: doubled each time, from the first to the longest."""


class Emit(Protocol):
    """Says one event to whoever listens."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Say the event called `event` with these fields."""
        ...


class ServiceFailedError(UnavailableError):
    """A child ended, or said nothing, before it was ready for the first time."""

    def __init__(self, message: str, *, child: str, lines: Sequence[str]) -> None:
        super().__init__(message)
        self.child = child
        self.lines = list(lines)


class Service:
    """A named child process with its command and environment.

    `ready` is an optional coroutine function of the child, awaited after each start: what must happen before the
    child counts as ready. Without it, the child says so itself with an event `ready` on its output. `batch` is its
    scheduling policy, as for `Child.start`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Callable[[], Mapping[str, str]],
        emit: Emit,
        *,
        ready: Callable[[Child], Awaitable[None]] | None = None,
        batch: bool = False,
    ) -> None:
        self.name = name
        self.child: Child | None = None
        self._command = command
        self._environment = environment
        self._emit = emit
        self._ready = ready
        self._batch = batch
        self._said_ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self, timeout: float) -> None:  # noqa: ASYNC109
        """Start the child, wait up to `timeout` seconds until it is ready, and keep it running from then on.

        Raises ServiceFailedError with the child's last lines when it does not come up.
        """
        child = await self._spawn()
        waiting = asyncio.ensure_future(self._until_ready(child))
        try:
            await asyncio.wait({waiting, child.ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if child.ended.done():
                what = f"{_ending(await child.wait())} before it was ready"
            elif not waiting.done():
                what = f"was not ready within {timeout:g} s"
            elif (error := waiting.exception()) is not None:
                what = f"failed to get ready: {error}"
            else:
                self._keeper = asyncio.create_task(self._keep(child))
                return
        finally:
            waiting.cancel()
        await child.stop(1.0)
        last = next((f": {line.strip()}" for line in reversed(child.last_lines) if line.strip()), "")
        raise ServiceFailedError(f"{self.name} {what}{last}", child=self.name, lines=child.last_lines)

    async def stop(self, patience: float) -> None:
        """Stop keeping the child and stop it, killing it after `patience` seconds."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self.child is not None and self.child.running:
            code = await self.child.stop(patience)
            self._emit("exited", child=self.name, pid=self.child.pid, status=code, expected=True)

    async def _keep(self, child: Child) -> None:
        back_off = FIRST_BACK_OFF
        started = time.monotonic()
        while True:
            code = await child.wait()
            await child.drain_output()
            if time.monotonic() - started > LONGEST_BACK_OFF:
                back_off = FIRST_BACK_OFF  # it ran for a while: this is another accident, not the same again
            self._emit("exited", child=self.name, pid=child.pid, status=code, expected=False, restart_in=back_off)
            await asyncio.sleep(back_off)
            back_off = min(2 * back_off, LONGEST_BACK_OFF)
            started = time.monotonic()
            child = await self._spawn()
            if self._ready is not None:
                await self._ready_again(child)

    async def _ready_again(self, child: Child) -> None:
        waiting = asyncio.ensure_future(self._until_ready(child))
        try:
            await asyncio.wait({waiting, child.ended}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and (error := waiting.exception()) is not None:
                self._emit("log", child=self.name, text=f"{self.name} failed to get ready: {error}")
                await child.stop(1.0)
        finally:
            waiting.cancel()

    async def _spawn(self) -> Child:
        self._said_ready.clear()
        self.child = await Child.start(
            self._command, self._environment(), on_output=self._output, on_log=self._log, batch=self._batch
        )
        self._emit("started", child=self.name, pid=self.child.pid)
        return self.child

    async def _until_ready(self, child: Child) -> None:
        if self._ready is not None:
            await self._ready(child)
        else:
            await self._said_ready.wait()

    def _output(self, line: str) -> None:
        """Pass a child's event on under its name; what is no event is a log line."""
        try:
            said = json.loads(line)
            event = said.pop("event")
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            self._log(line)
            return
        if event == "ready":
            self._said_ready.set()
        self._emit(str(event), **{**said, "child": self.name})

    def _log(self, line: str) -> None:
        self._emit("log", child=self.name, text=line)


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
