"""`BlockingJob`: the same methods as `Job`, each returning when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from npufleet.jobs.wish import CANCEL_S, RESULT_S, SUBMIT_S

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Mapping

    from npufleet.fleet import AsyncFleet
    from npufleet.jobs.job import Job
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

    def status(self) -> JobStatus:
        """Return what is known about the job now."""
        return self._runner.run(self._job.status())

    def events(self) -> Iterator[JobStatus]:
        """Give the job's status now, and then each change until the job is over."""
        events = self._job.events()
        try:
            while (event := self._runner.run(_next(events))) is not None:
                yield event
        finally:
            self._runner.run(events.aclose())

    def cancel(self, timeout: float = CANCEL_S) -> JobStatus:
        """Cancel the job wherever it is, and return what became of it; see `Job.cancel`."""
        return self._runner.run(self._job.cancel(timeout))


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
    ) -> list[BlockingJob]:
        """Submit many jobs; see `AsyncFleet.submit_many`."""
        jobs = self._runner.fleet.jobs
        made = self._runner.run(jobs.submit_many(operation, many, params, model, wish, timeout))
        return [BlockingJob(self._runner, job) for job in made]

    def create_streams(self) -> None:
        """Create the streams and consumers that are missing; see `Jobs.create_streams`."""
        self._runner.run(self._runner.fleet.jobs.create_streams())


async def _next(events: Any) -> JobStatus | None:
    return await anext(events, None)
