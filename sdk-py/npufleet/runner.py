"""The thread behind a blocking `Fleet`, and the event loop on it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from npufleet.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from npufleet.fleet import AsyncFleet
    from npufleet.opening import Opening

_Value = TypeVar("_Value")


class Runner:
    """A thread whose event loop opens an `AsyncFleet`, serves it, and closes it.

    Threads talk through queues whose waiting is one call in C: an interrupt (Ctrl-C) may end that at any moment. Inside
    `concurrent.futures` it can hit between taking a lock and knowing of it, and then nobody ever gets that lock again.
    """

    def __init__(self, opening: Opening[AsyncFleet]) -> None:
        self._opening = opening
        self._waiting: set[queue.SimpleQueue[asyncio.Task[Any] | None]] = set()
        running: queue.SimpleQueue[asyncio.Task[Any]] = queue.SimpleQueue()
        opened: queue.SimpleQueue[AsyncFleet | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, args=(running, opened), name="npufleet", daemon=True)
        self._thread.start()
        self._task = running.get()
        try:
            fleet = opened.get()
        except BaseException:
            self.stop()
            raise
        if isinstance(fleet, BaseException):
            self.stop()
            raise fleet
        self.fleet = fleet

    def run(self, coroutine: Coroutine[Any, Any, _Value]) -> _Value:
        """Run a coroutine on the loop and wait for it; an interrupt cancels it."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise UnavailableError("the fleet's own thread cannot wait for it")
        loop = self._task.get_loop()
        ended: queue.SimpleQueue[asyncio.Task[_Value] | None] = queue.SimpleQueue()
        started: list[asyncio.Task[_Value]] = []

        def start() -> None:
            started.append(loop.create_task(coroutine))
            started[0].add_done_callback(ended.put)

        self._waiting.add(ended)  # before the loop is asked: if it ends first, it says so here
        try:
            loop.call_soon_threadsafe(start)
            task = ended.get()
        except RuntimeError as error:
            coroutine.close()
            raise UnavailableError("the fleet is closed") from error
        except BaseException:
            loop.call_soon_threadsafe(lambda: started[0].cancel() if started else coroutine.close())
            raise
        finally:
            self._waiting.discard(ended)
        if task is None or task.cancelled():
            coroutine.close()
            raise UnavailableError("the fleet was closed during the call")
        return task.result()

    def stop(self) -> None:
        """Close the fleet, cancel what still runs on the loop, and end the thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _main(
        self,
        running: queue.SimpleQueue[asyncio.Task[Any]],
        opened: queue.SimpleQueue[AsyncFleet | BaseException],
    ) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._serve(running, opened))
        for ended in tuple(self._waiting):
            ended.put(None)

    async def _serve(
        self,
        running: queue.SimpleQueue[asyncio.Task[Any]],
        opened: queue.SimpleQueue[AsyncFleet | BaseException],
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        running.put(task)
        try:
            fleet = await self._opening
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the fleet
            opened.put(error)
            return
        opened.put(fleet)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await fleet.close()
