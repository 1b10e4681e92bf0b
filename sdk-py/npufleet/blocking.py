"""`Fleet`: the same methods as `AsyncFleet`, each returning when it is done."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

from npufleet._typed import Operations
from npufleet.blocking_jobs import BlockingFlow, BlockingJob, BlockingJobs, iterate
from npufleet.call import TIMEOUT_S
from npufleet.fleet import AsyncFleet
from npufleet.jobs.wish import RESULT_S, SUBMIT_S, Wish
from npufleet.model_info import DEFAULT_MAX_BATCH, ModelInfo
from npufleet.parts import pieces
from npufleet.runner import Runner
from npufleet.wire import contract
from npufleet.wire.job import ATTEMPT_TIMEOUT_S, RETRIES
from npufleet.wire.prepare import parameters

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray

    from npufleet.jobs.flow import Stage, Step
    from npufleet.jobs.wish import Moment
    from npufleet.model_benchmark import Benchmark
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
        self._runner = Runner(opening)
        self._fleet = self._runner.fleet
        self._models = BlockingModels(self)
        self._jobs = BlockingJobs(self._runner)
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
        **more: object,
    ) -> Result:
        """Run an operation on the fleet and return its result; see `AsyncFleet.call`."""
        return self.run(self._fleet.call(operation, tensors, params, model=model, timeout=timeout, lane=lane, **more))

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

    def stream(
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
    ) -> Iterator[NDArray[Any] | dict[str, NDArray[Any]]]:
        """Give the answers of `map` part by part while they come; see `AsyncFleet.stream`.

        Rows that come bit by bit are an iterator here; it is asked on threads of its own, one at a time.
        """
        parts = self._fleet.stream(
            operation,
            pieces(rows, on_threads=True),
            params,
            model=model,
            timeout=timeout,
            lane=lane,
            rows_per_request=rows_per_request,
            concurrency=concurrency,
        )
        return iterate(self._runner, parts)

    def submit(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        lane: str = contract.DEFAULT_LANE,
        deadline: Moment = None,
        retries: int = RETRIES,
        attempt_timeout: float = ATTEMPT_TIMEOUT_S,
        idempotency_key: str | None = None,
        run_at: Moment = None,
        every: str | timedelta | None = None,
        timeout: float = SUBMIT_S,
        **more: object,
    ) -> BlockingJob:
        """Submit a job and return when the broker has stored it; see `AsyncFleet.submit`."""
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key, run_at, every)
        return self._jobs.submit(operation, tensors, parameters(params, more), model, wish, timeout)

    def submit_many(
        self,
        operation: str,
        many: Iterable[object],
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        lane: str = contract.DEFAULT_LANE,
        deadline: Moment = None,
        retries: int = RETRIES,
        attempt_timeout: float = ATTEMPT_TIMEOUT_S,
        idempotency_key: str | None = None,
        timeout: float = SUBMIT_S,
        **more: object,
    ) -> list[BlockingJob]:
        """Submit a job for each element of `many`; see `AsyncFleet.submit_many`."""
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key)
        return self._jobs.submit_many(operation, many, parameters(params, more), model, wish, timeout)

    def chain(
        self,
        *stages: Stage,
        lane: str = contract.DEFAULT_LANE,
        deadline: Moment = None,
        retries: int = RETRIES,
        attempt_timeout: float = ATTEMPT_TIMEOUT_S,
        idempotency_key: str | None = None,
        timeout: float = SUBMIT_S,
    ) -> BlockingFlow:
        """Submit jobs that follow each other; see `AsyncFleet.chain`."""
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key)
        return self._jobs.flow("chain", stages, wish, timeout)

    def group(
        self,
        steps: Iterable[Step],
        callback: Step | None = None,
        *,
        lane: str = contract.DEFAULT_LANE,
        deadline: Moment = None,
        retries: int = RETRIES,
        attempt_timeout: float = ATTEMPT_TIMEOUT_S,
        idempotency_key: str | None = None,
        timeout: float = SUBMIT_S,
    ) -> BlockingFlow:
        """Submit jobs that are done at the same time, and a callback; see `AsyncFleet.group`."""
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key)
        stages: list[Stage] = [list(steps), *([] if callback is None else [callback])]
        return self._jobs.flow("group", stages, wish, timeout)

    def flow(self, flow_id: str) -> BlockingFlow:
        """Return a chain or a group by its id, whoever submitted it."""
        return self._jobs.find_flow(flow_id)

    def gather(
        self, jobs: Iterable[BlockingJob], *, timeout: float = RESULT_S, return_errors: bool = False
    ) -> list[Any]:
        """Wait for the results of jobs and return them in order; see `AsyncFleet.gather`."""
        waited = [job.asynchronous for job in jobs]
        return self.run(self._fleet.gather(waited, timeout=timeout, return_errors=return_errors))

    def as_completed(self, jobs: Iterable[BlockingJob], *, timeout: float = RESULT_S) -> Iterator[BlockingJob]:
        """Give each job when it is over, well or not; see `AsyncFleet.as_completed`."""
        known = {job.id: job for job in jobs}
        waited = self._fleet.as_completed([job.asynchronous for job in known.values()], timeout=timeout)
        return (known[job.id] for job in iterate(self._runner, waited))

    def job(self, job_id: str) -> BlockingJob:
        """Return a job by its id, whoever submitted it."""
        return self._jobs.get(job_id)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike = float) -> NDArray[Any]:
        """Return an array to fill and call with; see `AsyncFleet.empty`."""
        return self._fleet.empty(shape, dtype)

    def asarray(self, value: object) -> NDArray[Any]:
        """Return a copy of any array-like in an array that `empty` gives."""
        return self._fleet.asarray(value)

    @property
    def jobs(self) -> BlockingJobs:
        """The durable jobs of the fleet."""
        return self._jobs

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
        instances: int | None = None,
        performance_hint: str | None = None,
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
                instances=instances,
                performance_hint=performance_hint,
                keep=keep,
                timeout=timeout,
                progress=progress,
            )
        )

    def serve(self, name: str, versions: str | Sequence[int], *, timeout: float = 60.0) -> Infos:
        """Choose which versions of a model are served: `latest`, `all` or a list; see `Models.serve`."""
        return self._runner.run(self._runner.fleet.models.serve(name, versions, timeout=timeout))

    def list(self) -> Infos:
        """Return every registered version of every model; see `Models.list`."""
        return self._runner.run(self._runner.fleet.models.list())

    def info(self, name: str, version: int | None = None) -> ModelInfo:
        """Return one version of a model, the highest by default; see `Models.info`."""
        return self._runner.run(self._runner.fleet.models.info(name, version))

    def benchmark(
        self,
        name: str,
        *,
        version: int | None = None,
        batch_size: int = 1,
        requests: int = 8,
        seconds: float = 5.0,
        shapes: Mapping[str, Sequence[int]] | None = None,
        inputs: Mapping[str, object] | None = None,
        timeout: float = 30.0,
    ) -> Benchmark:
        """Measure how fast a model is served; see `Models.benchmark`."""
        return self._runner.run(
            self._runner.fleet.models.benchmark(
                name,
                version=version,
                batch_size=batch_size,
                requests=requests,
                seconds=seconds,
                shapes=shapes,
                inputs=inputs,
                timeout=timeout,
            )
        )

    def remove(self, name: str, version: int | None = None) -> None:
        """Remove a version, or all of a model; see `Models.remove`."""
        self._runner.run(self._runner.fleet.models.remove(name, version))
