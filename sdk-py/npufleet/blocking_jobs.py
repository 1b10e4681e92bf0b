"""`BlockingJob`: the same methods as `Job`, each returning when it is done."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from npufleet.errors import UnavailableError
from npufleet.jobs.wish import CANCEL_S, LIMIT, PAGE, RESULT_S, SUBMIT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence

    from npufleet.fleet import AsyncFleet
    from npufleet.jobs.dead import DeadLetter, Letters
    from npufleet.jobs.flow import Flow, Stage
    from npufleet.jobs.job import Job
    from npufleet.jobs.registry import Queues, Statuses
    from npufleet.jobs.status import JobStatus
    from npufleet.jobs.wish import Wish
    from npufleet.result import Result

_Value = TypeVar("_Value")


class Runner(Protocol):
    """Whoever runs coroutines for a blocking fleet, and the fleet."""

    fleet: AsyncFleet

    def run(self, coroutine: Coroutine[Any, Any, _Value]) -> _Value:
        """Run a coroutine and wait for it."""
        ...


class BlockingJob:
    """A job that was submitted; see `npufleet.jobs.job.Job`."""

    def __init__(self, runner: Runner, job: Job) -> None:
        self._runner = runner
        self._job = job

    def __repr__(self) -> str:
        return repr(self._job)

    @property
    def id(self) -> str:
        """The job's id, with which `fleet.job` finds it again."""
        return self._job.id

    @property
    def asynchronous(self) -> Job:
        """The `Job` behind this one."""
        return self._job

    def result(self, timeout: float = RESULT_S) -> Result:
        """Wait for the job's result; see `Job.result`."""
        return self._runner.run(self._job.result(timeout))

    def wait(self, timeout: float = RESULT_S) -> JobStatus:
        """Wait until the job is over and return how it ended; see `Job.wait`."""
        return self._runner.run(self._job.wait(timeout))

    def status(self) -> JobStatus:
        """Return what is known about the job now."""
        return self._runner.run(self._job.status())

    def events(self) -> Iterator[JobStatus]:
        """Give the job's status now, and then each change until the job is over."""
        return iterate(self._runner, self._job.events())

    def cancel(self, timeout: float = CANCEL_S) -> JobStatus:
        """Cancel the job wherever it is, and return what became of it; see `Job.cancel`."""
        return self._runner.run(self._job.cancel(timeout))


class BlockingFlow(BlockingJob):
    """A chain or a group; see `npufleet.jobs.flow.Flow`."""

    def __init__(self, runner: Runner, flow: Flow) -> None:
        super().__init__(runner, flow)
        self._flow = flow

    def step(self, stage: int, member: int | None = None) -> BlockingJob:
        """Return the job of one step, counted from 1; see `Flow.step`."""
        return BlockingJob(self._runner, self._flow.step(stage, member))

    def results(self, timeout: float = RESULT_S) -> list[Result]:
        """Wait for the end and return the results of the last stage; see `Flow.results`."""
        return self._runner.run(self._flow.results(timeout))


Handles = list[BlockingJob]  # a method below is called list


class BlockingJobs:
    """The jobs of one fleet; see `npufleet.jobs.registry.Jobs`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def get(self, job_id: str) -> BlockingJob:
        """Return a job by its id, whoever submitted it; nothing is asked of the broker."""
        return BlockingJob(self._runner, self._runner.fleet.jobs.get(job_id))

    def submit(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None,
        model: str | None,
        wish: Wish,
        timeout: float = SUBMIT_S,
    ) -> BlockingJob:
        """Submit one job; see `AsyncFleet.submit`."""
        jobs = self._runner.fleet.jobs
        return BlockingJob(
            self._runner, self._runner.run(jobs.submit(operation, tensors, params, model, wish, timeout))
        )

    def submit_many(
        self,
        operation: str,
        many: Iterable[object],
        params: Mapping[str, object] | None,
        model: str | None,
        wish: Wish,
        timeout: float = SUBMIT_S,
    ) -> Handles:
        """Submit many jobs; see `AsyncFleet.submit_many`."""
        jobs = self._runner.fleet.jobs
        made = self._runner.run(jobs.submit_many(operation, many, params, model, wish, timeout))
        return [BlockingJob(self._runner, job) for job in made]

    def flow(self, kind: str, stages: Sequence[Stage], wish: Wish, timeout: float = SUBMIT_S) -> BlockingFlow:
        """Submit a chain or a group; see `AsyncFleet.chain` and `AsyncFleet.group`."""
        return BlockingFlow(self._runner, self._runner.run(self._runner.fleet.jobs.flow(kind, stages, wish, timeout)))

    def find_flow(self, flow_id: str) -> BlockingFlow:
        """Return a chain or a group by its id, whoever submitted it; nothing is asked of the broker."""
        return BlockingFlow(self._runner, self._runner.fleet.jobs.find_flow(flow_id))

    @property
    def dead(self) -> BlockingDeadLetters:
        """Jobs that failed for good."""
        return BlockingDeadLetters(self._runner)

    def list(self, *, state: str | None = None, operation: str | None = None, limit: int = LIMIT) -> Statuses:
        """Return jobs, the latest news first; see `Jobs.list`."""
        return self._runner.run(self._runner.fleet.jobs.list(state=state, operation=operation, limit=limit))

    def retry(self, job_id: str) -> BlockingJob:
        """Submit a failed job again as a new job; see `Jobs.retry`."""
        return self.dead.replay(job_id)

    def purge(self, job_id: str | None = None) -> int:
        """Throw away a failed job, or all of them; returns how many."""
        return self.dead.purge(job_id)

    def queues(self) -> Queues:
        """Return what each lane holds, the most urgent first."""
        return self._runner.run(self._runner.fleet.jobs.queues())

    def create_streams(self, *, replicas: int = 1) -> None:
        """Create the streams and consumers that are missing; see `Jobs.create_streams`."""
        self._runner.run(self._runner.fleet.jobs.create_streams(replicas=replicas))


class BlockingDeadLetters:
    """The dead letters of one fleet; see `npufleet.jobs.dead.DeadLetters`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def list(self, *, operation: str | None = None, limit: int = PAGE) -> Letters:
        """Return dead letters, the oldest first."""
        return self._runner.run(self._runner.fleet.jobs.dead.list(operation=operation, limit=limit))

    def show(self, job_id: str) -> DeadLetter:
        """Return one dead letter."""
        return self._runner.run(self._runner.fleet.jobs.dead.show(job_id))

    def replay(self, job_id: str) -> BlockingJob:
        """Submit a dead letter's job again and remove the letter; see `DeadLetters.replay`."""
        return BlockingJob(self._runner, self._runner.run(self._runner.fleet.jobs.dead.replay(job_id)))

    def purge(self, job_id: str | None = None) -> int:
        """Remove one dead letter, or all of them; returns how many."""
        return self._runner.run(self._runner.fleet.jobs.dead.purge(job_id))


def iterate(runner: Runner, items: AsyncIterator[_Value]) -> Iterator[_Value]:
    """Give what an asynchronous generator gives, waiting for each."""
    nothing = object()

    async def following() -> _Value | object:
        return await anext(items, nothing)

    async def close() -> None:
        if isinstance(items, AsyncGenerator):
            await items.aclose()

    try:
        while (item := runner.run(following())) is not nothing:
            yield cast("_Value", item)
    finally:
        with contextlib.suppress(UnavailableError):  # a fleet that was closed meanwhile has ended it
            runner.run(close())
