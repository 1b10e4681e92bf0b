"""One batch on an executor's thread: deadlines, execution, and splitting when a member fails."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet import operations
from npufleet.errors import (
    CallCancelledError,
    DeadlineExceededError,
    DeviceLostError,
    FleetError,
    InternalError,
)
from npufleet.operations.shared import progress
from npufleet.wire import contract, frame
from npufleet.wire import dtype as dtypes
from npufleet.wire.steps import PIPELINE
from npufleet.worker import steps
from npufleet.worker.request import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from npufleet.wire.contract import Parameter
    from npufleet.worker.inference import Model
    from npufleet.worker.request import Request

CPU: Final = "CPU"

_log = logging.getLogger(__name__)


def execute(members: list[Request]) -> list[Outcome]:
    """Execute one batch and return one outcome per member; whatever goes wrong becomes an error of its own member."""
    started = time.perf_counter_ns()
    wanted = []
    outcomes = []
    for request in members:
        request.started = started
        refusal = _refusal(request)
        if refusal is None:
            wanted.append(request)
        else:
            outcomes.append(Outcome(request, error=refusal))
    model = members[0].model
    if wanted:
        outcomes += _model(wanted, model) if model is not None else [_operation(request) for request in wanted]
    finished = time.perf_counter_ns()
    rows = sum(request.rows for request in members)
    links = [request.caller for request in members if request.caller is not None]
    for outcome in outcomes:
        outcome.request.finished = finished
        outcome.rows, outcome.members, outcome.links = rows, len(members), links
    return outcomes


def warm_up() -> None:
    """Execute every operation once on a few zeros, so that the first caller does not wait for imports."""
    for name, operation in operations.REGISTRY.items():
        row = contract.operation(name)
        tensors = {
            tensor.name: np.zeros((2,) * max(tensor.minimum_rank, 1), dtypes.DTYPES[tensor.dtypes[0]].numpy)
            for tensor in row.inputs or ()
            if tensor is row.main_input or not tensor.optional
        }
        try:
            least = {each.name: _least(each) for each in row.parameters.values() if each.required}
            operations.execute(name, tensors, least | operation.example)
        except Exception as error:  # noqa: BLE001 - callers of this operation will hear it, others are served
            _log.warning("%s was not warmed up: %s: %s", name, type(error).__name__, error)


def _least(parameter: Parameter) -> Any:
    """Return a value that the row of a required parameter accepts."""
    return parameter.choices[0] if parameter.choices else parameter.minimum or 0


def _refusal(request: Request) -> FleetError | None:
    if request.answered:
        return CallCancelledError("cancelled while it waited")
    return DeadlineExceededError("deadline passed while the request waited") if request.expired() else None


def _operation(request: Request) -> Outcome:
    if request.done is None:
        return _execute(request)
    # Of a job, others hear how far it is.
    with progress.listening(request.advance):
        return _execute(request)


def _execute(request: Request) -> Outcome:
    if request.endpoint.row.name == PIPELINE:
        return steps.execute(request, _typed, run)
    try:
        operation = operations.REGISTRY[request.endpoint.row.name]
        return Outcome(request, frame.encode(operation.execute(request.tensors, request.params, request.stop)), CPU)
    except Exception as error:  # noqa: BLE001 - becomes the caller's typed error
        return Outcome(request, error=_typed(error))


def _model(members: list[Request], model: Model) -> list[Outcome]:
    outcomes = []
    results = run([request.tensors for request in members], model)
    for request, (result, device) in zip(members, results, strict=True):
        try:
            if isinstance(result, FleetError):
                raise result
            outcomes.append(Outcome(request, frame.encode(result), device))
        except FleetError as error:
            outcomes.append(Outcome(request, error=error))
    return outcomes


def run(inputs: Sequence[dict[str, NDArray[Any]]], model: Model) -> list[tuple[Any, str]]:
    """Infer several requests at once and return each one's outputs, or its error, with the device.

    A batch that fails is split in halves until only the members that fail alone are left failing. When the device
    fails, all of them wait for the next one and run there.
    """
    try:
        return [(result, model.device) for result in model.infer(inputs)]
    except DeviceLostError as error:
        # No member's fault, and every further try here would fail the same way.
        successor = model.successor(error)
        return run(inputs, successor) if successor is not None else [(error, model.device)] * len(inputs)
    except Exception as error:  # noqa: BLE001 - becomes the caller's typed error
        if len(inputs) == 1:
            return [(_typed(error), model.device)]
    middle = len(inputs) // 2
    return run(inputs[:middle], model) + run(inputs[middle:], model)


def _typed(error: Exception) -> FleetError:
    if isinstance(error, FleetError):
        return error
    _log.error("execution failed", exc_info=error)
    return InternalError(f"{type(error).__name__}: {error}")
