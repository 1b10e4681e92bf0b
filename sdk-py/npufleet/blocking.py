"""`Fleet`: the same methods as `AsyncFleet`, each returning when it is done."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

from npufleet._typed import Operations
from npufleet.call import TIMEOUT_S
from npufleet.errors import UnavailableError
from npufleet.fleet import AsyncFleet
from npufleet.model_info import DEFAULT_MAX_BATCH, ModelInfo
from npufleet.wire import contract

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from npufleet.model_files import Progress
    from npufleet.opening import Opening
    from npufleet.result import Result
    from npufleet.statistics import Statistics

_Value = TypeVar("_Value")
Infos = list[ModelInfo]  # a method below is called list


class Fleet(Operations):
    """A connection to a fleet for programs without an event loop: `with Fleet.connect() as fleet`.

    One background thread runs an `AsyncFleet`; any thread may call. An interrupt (Ctrl-C) cancels the call that it
    interrupts. `close`, or the end of the `with` block, ends the thread.
    """

    def __init__(self, opening: Opening[AsyncFleet]) -> None:
        """Open a fleet on a thread of its own; programs use `connect` or `local`."""
        self._runner = _Runner(opening)
        self._fleet = self._runner.fleet
        self._models = BlockingModels(self)
        # A program that forgets to close still gives a local fleet's processes and the thread back.
        self._finalizer = weakref.finalize(self, self._runner.stop)

    @classmethod
    def connect(cls, url: str | None = None, **options: Any) -> Self:
        """Connect to a broker; see `AsyncFleet.connect` for the options."""
        return cls(AsyncFleet.connect(url, **options))

    @classmethod
    def local(cls, workers: Sequence[str] = ("rust", "python"), **options: Any) -> Self:
        """Start a broker and workers on this machine and connect to them; see `AsyncFleet.local`."""
        return cls(AsyncFleet.local(workers, **options))

    def call(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        timeout: float = TIMEOUT_S,
        lane: str = contract.DEFAULT_LANE,
    ) -> Result:
        """Run an operation on the fleet and return its result; see `AsyncFleet.call`."""
        return self.run(self._fleet.call(operation, tensors, params, model=model, timeout=timeout, lane=lane))

    def infer(
        self,
        model: str,
        inputs: Mapping[str, object],
        *,
        version: int | None = None,
        timeout: float = TIMEOUT_S,
        lane: str = contract.DEFAULT_LANE,
    ) -> dict[str, NDArray[Any]]:
        """Run a registered model on rows of input; see `AsyncFleet.infer`."""
        return self.run(self._fleet.infer(model, inputs, version=version, timeout=timeout, lane=lane))

    def map(
        self,
        operation: str,
        rows: object,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        timeout: float = TIMEOUT_S,
        lane: str = contract.DEFAULT_LANE,
        rows_per_request: int | None = None,
        concurrency: int = 16,
    ) -> NDArray[Any] | dict[str, NDArray[Any]]:
        """Run an operation on many rows, sent in requests of many rows each; see `AsyncFleet.map`."""
        return self.run(
            self._fleet.map(
                operation,
                rows,
                params,
                model=model,
                timeout=timeout,
                lane=lane,
                rows_per_request=rows_per_request,
                concurrency=concurrency,
            )
        )

    @property
    def models(self) -> BlockingModels:
        """The registry of the models that the fleet serves."""
        return self._models

    def health(self) -> dict[str, Any]:
        """Ask the fleet's parts how they are; see `AsyncFleet.health`."""
        return self.run(self._fleet.health())

    def statistics(self) -> Statistics:
        """Return what has been counted since the connection was opened."""
        return self._fleet.statistics()

    @property
    def url(self) -> str:
        """The broker's address with all that a plain NATS client needs; it may hold a password."""
        return self._fleet.url

    @property
    def transport(self) -> str:
        """`native` or `pure`."""
        return self._fleet.transport

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""
        return self._fleet.state

    @property
    def max_payload(self) -> int:
        """Bytes the broker takes in one message."""
        return self._fleet.max_payload

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of a local fleet by name; empty for a remote one."""
        return self._fleet.pids

    @property
    def notes(self) -> list[str]:
        """What the user of a local fleet should know, such as why no Rust worker runs."""
        return self._fleet.notes

    @property
    def asynchronous(self) -> AsyncFleet:
        """The `AsyncFleet` behind this one; its coroutines are for `run`."""
        return self._fleet

    def run(self, coroutine: Coroutine[Any, Any, _Value]) -> _Value:
        """Run a coroutine, such as one that calls many operations at once, on the fleet's thread."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Disconnect, stop a local fleet and end the thread; may be repeated."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BlockingModels:
    """The registry of one fleet; see `npufleet.models.Models`."""

    def __init__(self, fleet: Fleet) -> None:
        self._runner = fleet._runner  # not the fleet, which holds us: it shall go when its last user does

    def add(
        self,
        name: str,
        path: str | Path,
        *,
        version: int | None = None,
        max_batch: int = DEFAULT_MAX_BATCH,
        precision: str | None = None,
        devices: Sequence[str] | None = None,
        max_queue_delay: float = 0.0,
        keep: bool = False,
        timeout: float = 60.0,
        progress: Progress | None = None,
    ) -> ModelInfo:
        """Upload, register and wait until the live workers serve it or have failed; see `Models.add`."""
        return self._runner.run(
            self._runner.fleet.models.add(
                name,
                path,
                version=version,
                max_batch=max_batch,
                precision=precision,
                devices=devices,
                max_queue_delay=max_queue_delay,
                keep=keep,
                timeout=timeout,
                progress=progress,
            )
        )

    def list(self) -> Infos:
        """Return every registered version of every model; see `Models.list`."""
        return self._runner.run(self._runner.fleet.models.list())

    def info(self, name: str, version: int | None = None) -> ModelInfo:
        """Return one version of a model, the highest by default; see `Models.info`."""
        return self._runner.run(self._runner.fleet.models.info(name, version))

    def remove(self, name: str, version: int | None = None) -> None:
        """Remove a version, or all of a model; see `Models.remove`."""
        self._runner.run(self._runner.fleet.models.remove(name, version))


class _Runner:
    """A thread whose event loop opens an `AsyncFleet`, serves it, and closes it."""

    def __init__(self, opening: Opening[AsyncFleet]) -> None:
        self._opening = opening
        self._running: concurrent.futures.Future[asyncio.Task[Any]] = concurrent.futures.Future()
        self._opened: concurrent.futures.Future[AsyncFleet] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._main, name="npufleet", daemon=True)
        self._thread.start()
        self._task = _wait(self._running)
        try:
            self.fleet = _wait(self._opened)
        except BaseException:
            self.stop()
            raise

    def run(self, coroutine: Coroutine[Any, Any, _Value]) -> _Value:
        """Run a coroutine on the loop and wait for it; an interrupt cancels it."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            coroutine.close()
            own = self._thread.is_alive()
            raise UnavailableError("the fleet's own thread cannot wait for it" if own else "the fleet is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._task.get_loop())
        try:
            return _wait(future)
        except concurrent.futures.CancelledError as error:
            raise UnavailableError("the fleet was closed during the call") from error
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Close the fleet, cancel what still runs on the loop, and end the thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _main(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        self._running.set_result(task)
        try:
            fleet = await self._opening
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the fleet
            self._opened.set_exception(error)
            return
        self._opened.set_result(fleet)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await fleet.close()


def _wait(future: concurrent.futures.Future[_Value]) -> _Value:
    """Wait for a future's result in a way that an interrupt (Ctrl-C) may end at any moment.

    `Future.result` waits inside a `threading.Condition`: an interrupt there can surface as the `RuntimeError` of a
    lock that is not held. The queue waits in C, where an interrupt is one clean exception.
    """
    done: queue.SimpleQueue[object] = queue.SimpleQueue()
    future.add_done_callback(done.put)
    done.get()
    return future.result()
