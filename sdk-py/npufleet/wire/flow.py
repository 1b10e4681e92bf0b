"""Jobs that follow each other: the plan of a flow as it travels, and what each of its jobs takes of those before.

A flow is a list of stages, done one after the other. A stage is one step, or a group of steps that are done at the
same time. A step is that of a pipeline (see `npufleet.wire.steps`); those of the first stage say what was submitted.
docs/jobs-protocol.md has the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import InvalidFrameError, InvalidParameterError, InvalidShapeError
from npufleet.wire import contract, dtype, frame
from npufleet.wire.steps import checked, naming, wiring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

STAGES: Final = 64
MEMBERS: Final = 1000
CHAIN: Final = "chain"
GROUP: Final = "group"
"""What a flow is called where a job's operation stands."""


@dataclass(frozen=True, slots=True)
class Member:
    """One step and its place: `stage` and `number` count from 1, `count` is 0 where the stage is no group."""

    step: dict[str, Any]
    stage: int
    number: int
    count: int

    @property
    def operation(self) -> str:
        """The operation, with its place in its group: what an error calls this step."""
        name = str(self.step["operation"])
        return f"{name}, member {self.number} of {self.count}" if self.count else name

    def job_id(self, flow_id: str) -> str:
        """Return the id of the step's job: the same whoever submits it, and however often."""
        return job_id(flow_id, self.stage, self.number if self.count else None)

    def naming(self) -> naming:
        """Return a context whose errors name this step."""
        return naming(self.stage - 1, self.operation)


@dataclass(frozen=True, slots=True)
class Flow:
    """The stages of a flow; each is a tuple of members."""

    stages: tuple[tuple[Member, ...], ...]

    @classmethod
    def of(cls, stages: object) -> Flow:
        """Check a list of stages, each a step or a list of steps; raises `InvalidParameterError` naming the step."""
        if not isinstance(stages, list | tuple) or not 1 <= len(stages) <= STAGES:
            count = len(stages) if isinstance(stages, list | tuple) else "no list of"
            raise InvalidParameterError(f"a flow has {count} stages; allowed: 1 to {STAGES}")
        made = tuple(_members(index, stage) for index, stage in enumerate(stages))
        for before, stage in pairwise(made):
            _check_wiring(before, stage)
        return cls(made)

    def encode(self, constants: Arrays) -> bytes:
        """Return the flow as a frame; `constants` are the tensors that its `request_inputs` name."""
        stages = [[each.step for each in stage] if stage[0].count else stage[0].step for stage in self.stages]
        return frame.encode(constants, {"stages": stages})

    @classmethod
    def decode(cls, data: bytes) -> tuple[Flow, Arrays]:
        """Read a flow and its constants; raises `InvalidFrameError` or `InvalidParameterError`."""
        constants, params = frame.decode(data)
        if "stages" not in params:
            raise InvalidFrameError("the frame is no flow: it has no 'stages'")
        return cls.of(params["stages"]), constants


def job_id(flow_id: str, stage: int, member: int | None = None) -> str:
    """Return the id of a step's job: `<flow id>-<stage>`, with `-<member>` in a group, both counted from 1."""
    return f"{flow_id}-{stage}" + (f"-{member}" if member is not None else "")


def request(member: Member, before: Sequence[Member], given: Sequence[Arrays], constants: Arrays) -> bytes:
    """Return the frame of a step's request; `given` is what the steps `before` it gave, in their order.

    After a group, a name that all members gave is theirs stacked along a new first dimension, and `<n>.<name>` is what
    the n-th gave. The request is checked as far as the contract's rows say: what only its operation can refuse, its job
    does. Raises `InvalidShapeError` naming the step, or what `frame.encode` does.
    """
    with member.naming():
        row = contract.operation(member.step["operation"])
        names = common = [name for name in given[0] if all(name in each for each in given)]
        if before[0].count and "inputs" in member.step:
            names = [*common, *_singles(given)]
        tensors = {
            name: constants[source] if is_constant else _given(source, before, given)
            for name, source, is_constant in wiring(row, member.step, _row(before), names, list(constants))
        }
        dtypes = {name: dtype.of(array.dtype) for name, array in tensors.items()}
        row.check_inputs({name: (found.word, tensors[name].shape) for name, found in dtypes.items() if found})
        return frame.encode(tensors, member.step.get("params"))


def _given(source: str, before: Sequence[Member], given: Sequence[Arrays]) -> NDArray[Any]:
    if not before[0].count:
        return given[0][source]
    if source not in given[0] or not all(source in each for each in given):
        number, _, name = source.partition(".")
        return given[int(number) - 1][name]
    parts = [each[source] for each in given]
    kinds = {f"{part.dtype}{list(part.shape)}" for part in parts}
    if len(kinds) > 1:
        shown = ", ".join(sorted(kinds))
        raise InvalidShapeError(f"tensor '{source}' of the group is {shown}; allowed: all alike, or 'inputs' by number")
    return np.stack(parts)


def _singles(given: Sequence[Arrays]) -> Iterator[str]:
    for number, arrays in enumerate(given, 1):
        yield from (f"{number}.{name}" for name in arrays)


def _row(members: Sequence[Member]) -> contract.Operation | None:
    names = {each.step["operation"] for each in members}
    return contract.operation(names.pop()) if len(names) == 1 else None


def _members(index: int, stage: object) -> tuple[Member, ...]:
    read = _step if index else _submitted
    if not isinstance(stage, list | tuple):
        return (Member(read(index, stage), index + 1, 1, 0),)
    if not 1 <= len(stage) <= MEMBERS:
        raise InvalidParameterError(f"step {index + 1} is a group of {len(stage)}; allowed: 1 to {MEMBERS}")
    return tuple(Member(read(index, step), index + 1, number, len(stage)) for number, step in enumerate(stage, 1))


def _step(index: int, step: object) -> dict[str, Any]:
    return checked(index, step, contract.operation, nested=True)


def _submitted(index: int, step: object) -> dict[str, Any]:
    """Read a step of the first stage, of which only the operation and the model matter."""
    name, model = (step.get("operation"), step.get("model")) if isinstance(step, dict) else (None, None)
    row = contract.OPERATIONS.get(name) if isinstance(name, str) else None
    if row is None:
        return _step(index, step)  # which says why not
    return {"operation": row.name} | ({"model": model} if row.model and isinstance(model, str) else {})


def _check_wiring(before: Sequence[Member], stage: Sequence[Member]) -> None:
    """Refuse what can be known to fail before anything has run."""
    for member in stage:
        with member.naming():
            row = contract.operation(member.step["operation"])
            names = (*member.step.get("inputs", ()), *member.step.get("request_inputs", ()))
            for name in names:
                if not row.takes(name):
                    raise InvalidParameterError(f"unknown tensor '{name}' for {row.name}; allowed: {_inputs(row)}")
            if "inputs" not in member.step and row.inputs is not None and _row(before) is None:
                raise InvalidParameterError("'inputs' is missing; it is needed after a group of different operations")


def _inputs(row: contract.Operation) -> str:
    return ", ".join(each.shown for each in row.inputs or ()) or "none"
