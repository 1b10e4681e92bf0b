"""`AsyncFleet`: ask a fleet for operations from an asyncio program."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from npufleet._typed import AsyncOperations
from npufleet.call import TIMEOUT_S
from npufleet.control import Control
from npufleet.errors import FleetError, UnavailableError
from npufleet.jobs.wish import RESULT_S, SUBMIT_S, Wish
from npufleet.many import RowCaller
from npufleet.opening import Opening
from npufleet.transport import ConnectOptions, open_transport
from npufleet.wire import contract
from npufleet.wire.array import as_array, check_array
from npufleet.wire.job import ATTEMPT_TIMEOUT_S, RETRIES
from npufleet.wire.prepare import parameters

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
    from datetime import timedelta
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray

    from npufleet.broker.local import LocalFleet
    from npufleet.jobs.flow import Flow, Stage, Step
    from npufleet.jobs.job import Job
    from npufleet.jobs.registry import Jobs
    from npufleet.jobs.wish import Moment
    from npufleet.models import Models
    from npufleet.transport import Transport


class AsyncFleet(RowCaller, AsyncOperations):
    """A connection to a fleet, bound to the event loop that opened it.

    Open it with `connect` or `local`. Every call may raise any `FleetError`; cancelling the task that awaits a
    call cancels the work. Any number of calls may be in flight at once.
    """

    def __init__(self, options: ConnectOptions, transport: Transport, local: LocalFleet | None = None) -> None:
        """Take over an open transport; programs use `connect` or `local`."""
        super().__init__(transport, options.prefix, self._why_nobody_serves)
        self._options = options
        self._local = local
        self._control = Control(options)
        self._models: Models | None = None
        self._jobs: Jobs | None = None

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        credentials: str | os.PathLike[str] | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        tls_certificate: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        inbox_prefix: str | None = None,
        prefix: str = "npu",
        transport: str | None = None,
    ) -> Opening[Self]:
        """Connect to a broker: `async with AsyncFleet.connect() as fleet`, or `await` it and `close` it yourself.

        What is not given comes from `NPUFLEET_URL`, `NPUFLEET_USER`, ..., the address by default being
        nats://127.0.0.1:4222. `credentials` is a NATS `.creds` file, `tls_*` are PEM files, `transport` is `native`,
        `pure` or None for the faster one that is there.
        Raises `UnavailableError` with the address when the broker cannot be reached or refuses us.
        """
        options = ConnectOptions.from_environment(
            url=url,
            user=user,
            password=password,
            token=token,
            credentials=_text(credentials),
            tls_ca=_text(tls_ca),
            tls_certificate=_text(tls_certificate),
            tls_key=_text(tls_key),
            inbox_prefix=inbox_prefix,
            prefix=prefix,
        )
        return Opening(cls._open(options, transport))

    @classmethod
    def local(
        cls, workers: Sequence[str] = ("rust", "python"), *, transport: str | None = None, **options: Any
    ) -> Opening[Self]:
        """Start a broker and workers on this machine for as long as the fleet is open, and connect to them.

        `options` are those of `npufleet.broker.local.LocalFleet.start`, such as `queue_limit` of every worker.
        Nothing is left behind, however this process ends. Raises `UnavailableError` when something does not start.
        """
        return Opening(cls._open_local(workers, transport, options))

    @classmethod
    async def _open(cls, options: ConnectOptions, transport: str | None, local: LocalFleet | None = None) -> Self:
        return cls(options, await open_transport(options, transport), local)

    @classmethod
    async def _open_local(cls, workers: Sequence[str], transport: str | None, options: dict[str, Any]) -> Self:
        from npufleet.broker.local import LocalFleet

        local = await LocalFleet.start(workers, **options)
        try:
            return await cls._open(ConnectOptions(local.url), transport, local)
        except BaseException:
            await local.stop()
            raise

    def infer(
        self,
        model: str,
        inputs: Mapping[str, object],
        *,
        version: int | None = None,
        timeout: float = TIMEOUT_S,
        lane: str = contract.DEFAULT_LANE,
    ) -> Coroutine[Any, Any, dict[str, NDArray[Any]]]:
        """Run a registered model on rows of input and return its outputs by name.

        `inputs` maps the model's input names to arrays with one row per first index. With `version`, any other
        version being served raises `UnknownModelError`.
        """
        params = None if version is None else {"version": version}
        return self._call("infer", inputs, params, model, timeout, lane, bare=True)

    async def submit(
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
        timeout: float = SUBMIT_S,  # noqa: ASYNC109
        **more: object,
    ) -> Job:
        """Submit a job, which is done once whatever crashes; returns when the broker has stored it.

        The first arguments are those of `call`; parameters may be given as keywords too. `deadline` is when nobody
        wants the result any more: seconds from now, a timedelta, or a datetime with its time zone. A failing job is
        tried `retries` times more, each attempt for at most `attempt_timeout` seconds, then it becomes a dead letter.
        Submitting again with the same `idempotency_key` gives the same job, whatever the other arguments are.
        `run_at` is when it is to be done; `every` (such as `15m`) repeats it until it is cancelled, each run a job of
        its own.
        Raises `OverloadedError` when the broker has no room, `UnavailableError` when nothing could be sent within
        `timeout` seconds, and `UnknownOutcomeError` when no answer came: the job may have been accepted.
        """
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key, run_at, every)
        return await self.jobs.submit(operation, tensors, parameters(params, more), model, wish, timeout)

    async def submit_many(
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
        timeout: float = SUBMIT_S,  # noqa: ASYNC109
        **more: object,
    ) -> list[Job]:
        """Submit a job for each element of `many`, in atomic batches of 1,000: all of a batch are accepted, or none.

        The other arguments are those of `submit` and hold for every job; the n-th one has the key `<key>/<n>`.
        """
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key)
        return await self.jobs.submit_many(operation, many, parameters(params, more), model, wish, timeout)

    async def chain(
        self,
        *stages: Stage,
        lane: str = contract.DEFAULT_LANE,
        deadline: Moment = None,
        retries: int = RETRIES,
        attempt_timeout: float = ATTEMPT_TIMEOUT_S,
        idempotency_key: str | None = None,
        timeout: float = SUBMIT_S,  # noqa: ASYNC109
    ) -> Flow:
        """Submit jobs that follow each other, each on what the one before gave; returns when the broker has them all.

        A stage is a `Step`, or a list of steps that are done at the same time. The chain is a job itself: its result
        is that of the last step, a step that fails ends it with an error that names the step, and cancelling it
        cancels what is left. Workers submit the next step, so the chain needs this program no more. The keywords are
        those of `submit`; `deadline` holds for all of it, `retries` and `attempt_timeout` for each step.
        """
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key)
        return await self.jobs.flow("chain", stages, wish, timeout)

    async def group(
        self,
        steps: Iterable[Step],
        callback: Step | None = None,
        *,
        lane: str = contract.DEFAULT_LANE,
        deadline: Moment = None,
        retries: int = RETRIES,
        attempt_timeout: float = ATTEMPT_TIMEOUT_S,
        idempotency_key: str | None = None,
        timeout: float = SUBMIT_S,  # noqa: ASYNC109
    ) -> Flow:
        """Submit jobs that are done at the same time, at most 1,000, and a `callback` on what all of them gave.

        The result is the callback's; without one, `results` gives those of the members. See `chain`.
        """
        wish = Wish(lane, deadline, retries, attempt_timeout, idempotency_key)
        stages: list[Stage] = [list(steps), *([] if callback is None else [callback])]
        return await self.jobs.flow("group", stages, wish, timeout)

    def flow(self, flow_id: str) -> Flow:
        """Return a chain or a group by its id, whoever submitted it; nothing is asked of the broker."""
        return self.jobs.find_flow(flow_id)

    async def gather(
        self,
        jobs: Iterable[Job],
        *,
        timeout: float = RESULT_S,  # noqa: ASYNC109
        return_errors: bool = False,
    ) -> list[Any]:
        """Wait for the results of jobs and return them in order.

        The first error is raised, or with `return_errors` put in its job's place. `timeout` is in seconds, for all.
        """
        from npufleet.jobs import together

        return await together.gather(jobs, timeout, return_errors=return_errors)

    async def as_completed(
        self,
        jobs: Iterable[Job],
        *,
        timeout: float = RESULT_S,  # noqa: ASYNC109
    ) -> AsyncIterator[Job]:
        """Give each job when it is over, well or not; its `result` is then there at once."""
        from npufleet.jobs import together

        async for job in together.as_completed(jobs, timeout):
            yield job

    def job(self, job_id: str) -> Job:
        """Return a job by its id, whoever submitted it; nothing is asked of the broker."""
        return self.jobs.get(job_id)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike = float) -> NDArray[Any]:
        """Return an array to fill and call with, without content yet.

        Over the native transport it may lie in shared memory, from where it is sent without a copy; over the pure
        transport it is an ordinary array. Either way it can be used like any other. Raises `InvalidShapeError` for
        a dtype or a number of dimensions that no frame can hold.
        """
        check_array("empty", dtype, shape)
        return self._transport.empty(shape, dtype)

    def asarray(self, value: object) -> NDArray[Any]:
        """Return a copy of any array-like in an array that `empty` gives."""
        array = as_array("asarray", value)
        made = self._transport.empty(array.shape, array.dtype)
        made[...] = array
        return made

    @property
    def jobs(self) -> Jobs:
        """The durable jobs of the fleet."""
        if self._jobs is None:
            from npufleet.jobs.registry import Jobs

            self._jobs = Jobs(self._control, self._transport, self._options.prefix)
        return self._jobs

    @property
    def models(self) -> Models:
        """The registry of the models that the fleet serves."""
        if self._models is None:
            from npufleet.models import Models

            self._models = Models(self._control, self.call)
        return self._models

    async def health(self) -> dict[str, Any]:
        """Ask the fleet's parts how they are; what is absent says why."""
        from npufleet import health

        return await health.collect(self)

    @property
    def url(self) -> str:
        """The broker's address with all that a plain NATS client needs; it may hold a password."""
        return self._options.full_url

    @property
    def options(self) -> ConnectOptions:
        """How this fleet is connected."""
        return self._options

    @property
    def control(self) -> Control:
        """The slow lane: the services protocol and JetStream."""
        return self._control

    @property
    def transport(self) -> str:
        """`native` or `pure`."""
        return self._transport.name

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""
        return self._transport.state

    @property
    def max_payload(self) -> int:
        """Bytes the broker takes in one message."""
        return self._transport.max_payload

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of a local fleet by name (`broker`, `rust`, `python`, ...); empty for a remote one."""
        return dict(self._local.pids) if self._local is not None else {}

    @property
    def notes(self) -> list[str]:
        """What the user of a local fleet should know, such as why no Rust worker runs."""
        return list(self._local.notes) if self._local is not None else []

    async def close(self) -> None:
        """End the calls in flight with `UnavailableError`, disconnect, and stop a local fleet; may be repeated."""
        async with contextlib.AsyncExitStack() as stack:
            if self._local is not None:
                stack.push_async_callback(self._local.stop)
            stack.push_async_callback(self._control.close)
            stack.push_async_callback(self._transport.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _max_batch(self, model: str) -> int | None:
        """Return the model's max_batch, or None where there is no registry to ask; the worker then decides."""
        try:
            return (await self.models.info(model)).max_batch
        except UnavailableError:
            return None

    async def _check_inputs(self, model: str, tensors: object, params: Mapping[str, object] | None) -> None:
        if self._models is not None:
            await self._models.check_inputs(model, tensors, (params or {}).get("version"))

    async def _why_nobody_serves(self, model: str) -> FleetError:
        return await self.models.why_nobody_serves(model)


def _text(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else str(path)
