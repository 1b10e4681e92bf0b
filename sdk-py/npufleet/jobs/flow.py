"""Chains and groups of jobs: submitted once, seen through by the workers, whoever is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.jobs import batch, submit
from npufleet.jobs.job import Job
from npufleet.jobs.wish import RESULT_S
from npufleet.telemetry.spans import start_call
from npufleet.wire import contract, job
from npufleet.wire.array import as_array
from npufleet.wire.flow import Flow as Plan
from npufleet.wire.flow import Member, job_id
from npufleet.wire.prepare import parameters

if TYPE_CHECKING:
    from npufleet.control import Control
    from npufleet.jobs.submit import Message
    from npufleet.jobs.wish import Wish
    from npufleet.result import Result

GROUP_PARAMS: Final = ("members", "stage")
"""What the result of a flow says that ends with a group: how many members, and in which stage."""


class Step:
    """One job of a chain or a group: an operation, what it takes, and its parameters.

    `tensors`, `params` and `model` are those of `submit`; further keywords are parameters too. A step of the first
    stage brings its tensors. A later one takes what the step before it gave: its main output, or what `inputs` says
    (this step's tensor names to the other's), and adds its own `tensors` to that. After a group, a name stands for
    what all members gave, stacked along a new first dimension, and `<n>.<name>` for what the n-th gave, from 1.
    """

    __slots__ = ("inputs", "model", "operation", "params", "tensors")

    def __init__(
        self,
        operation: str,
        tensors: object = None,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        inputs: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        self.operation = operation
        self.tensors = tensors
        self.params = parameters(params, more)
        self.model = model
        self.inputs = inputs

    def __repr__(self) -> str:
        return f"<Step {self.operation}{'.' + self.model if self.model else ''}>"


Stage: TypeAlias = "Step | list[Step] | tuple[Step, ...]"


class Flow(Job):
    """A chain or a group: a job whose result is that of its last step, and whose steps are jobs of their own."""

    __slots__ = ()

    def step(self, stage: int, member: int | None = None) -> Job:
        """Return the job of one step, counted from 1; `member` is its number in a group, from 1 too."""
        return self._sibling(job_id(self.id, stage, member))

    async def result(self, timeout: float = RESULT_S) -> Result:  # noqa: ASYNC109
        """Wait for the last step's result; raises as `Job.result` does, a failed step by its number and name.

        Raises `InvalidShapeError` when the last stage is a group: it has `results`.
        """
        found = await super().result(timeout)
        if (members := _members(found)) is not None:
            raise InvalidShapeError(f"the last stage is a group of {members[0]}; allowed: results()")
        return found

    async def results(self, timeout: float = RESULT_S) -> list[Result]:  # noqa: ASYNC109
        """Wait for the end and return the results of the last stage: of each member of a group, else of one step."""
        found = await super().result(timeout)
        members = _members(found)
        if members is None:
            return [found]
        count, stage = members
        waiting = (self.step(stage, number).result(timeout) for number in range(1, count + 1))
        return list(await asyncio.gather(*waiting))


def _members(found: Result) -> tuple[int, int] | None:
    params = found.params
    return (params["members"], params["stage"]) if not len(found) and set(GROUP_PARAMS) == params.keys() else None


class Prepared:
    """A checked flow: its plan, the jobs of its first stage, and the tensors that later steps bring."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.constants: dict[str, Any] = {}
        written = [
            [self._written(step, index, number) for number, step in enumerate(stage, 1)]
            if isinstance(stage, list | tuple)
            else self._written(stage, index, 1)
            for index, stage in enumerate(stages)
        ]
        self.plan = Plan.of(written)
        first = stages[0]
        self.first: list[tuple[Member, Step]] = list(
            zip(self.plan.stages[0], first if isinstance(first, list | tuple) else [first], strict=True)
        )

    def _written(self, step: Step, index: int, number: int) -> dict[str, Any]:
        """Return a step as the plan has it: the first stage's are submitted at once, and only named there."""
        if not isinstance(step, Step):
            raise InvalidParameterError(f"step {index + 1} is {step!r:.80}; allowed: Step(...), or a list of them")
        written: dict[str, Any] = {"operation": step.operation}
        if step.model is not None:
            written["model"] = step.model
        if index == 0:
            return written
        written["params"] = dict(step.params or {})
        if step.inputs is not None:
            written["inputs"] = dict(step.inputs)
        given = step.tensors
        if given is not None:
            if not isinstance(given, Mapping):
                raise InvalidShapeError(f"tensors of step {index + 1} are no mapping; allowed: names to arrays")
            named = {str(name): f"{index + 1}.{number}.{name}" for name in given}
            written["request_inputs"] = named
            self.constants |= {named[name]: as_array(name, value) for name, value in given.items()}
        return written


def build(kind: str, stages: Sequence[Stage], wish: Wish, *, prefix: str, notify: str) -> tuple[list[Message], Message]:
    """Check a flow and return the messages of its first jobs and that of its plan.

    Raises what submitting the jobs of the first stage would, and `InvalidParameterError` naming any other step.
    """
    prepared = Prepared(stages)
    key = wish.idempotency_key
    flow_id = job.new_id() if key is None else job.id_of_key(kind, None, key)
    span = start_call(kind, f"{prefix}.v{contract.VERSION}.flow.{wish.lane}.{kind}", wish.lane, "submit")
    traced = {} if span is None else span.headers
    own = wish._replace(idempotency_key=None)
    first = []
    for member, step in prepared.first:
        if step.inputs is not None:
            raise InvalidParameterError(f"step 1 ({member.operation}) has inputs; allowed: from the second stage on")
        with member.naming():
            notified = job.advance_subject(flow_id, prefix)
            draft = submit.Draft(step.operation, step.params, step.model, own, prefix=prefix, notify=notified)
            tensors = {} if step.tensors is None else step.tensors
            first.append(draft.message(tensors, job_id=member.job_id(flow_id), traced=traced))
    # The plan is treated as its jobs are.
    request = replace(
        draft.request,
        job_id=flow_id,
        operation=kind,
        model=None,
        submitted=job.now_us(),
        idempotency_key=key,
        notify=notify,
    )
    message = submit.message_of(
        request, prepared.plan.encode(prepared.constants), prefix=prefix, route="flow", traced=traced
    )
    if span is not None:
        span.end()
        message = message._replace(trace_id=span.trace_id)
    return first, message


async def store(control: Control, prefix: str, first: Sequence[Message], message: Message, seconds: float) -> None:
    """Have the broker store the first jobs, and then the plan, with which the flow is accepted; raises as a submit."""
    await batch.store_many(control, prefix, first, seconds)
    await submit.store(control, prefix, message, seconds)
