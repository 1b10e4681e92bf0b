"""`pipeline`: operations one after the other, each on what the one before gave."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from npufleet.errors import CallCancelledError, FleetError, InternalError, UnsupportedError
from npufleet.operations.shared import progress
from npufleet.wire import contract
from npufleet.wire.steps import naming, wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

    Arrays = Mapping[str, NDArray[Any]]
    Infer = Callable[[str, Params, Arrays], dict[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Done:
    """One step that was executed; `start` and `end` are readings of `time.perf_counter_ns`."""

    operation: str
    model: str | None
    start: int
    end: int
    error_kind: str | None


def rows(_tensors: Arrays, _params: Params) -> int:
    """Return 1: what the steps take is theirs."""
    return 1


def execute(tensors: Arrays, params: Params, stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return what the last step gives. An `infer` step is `UnsupportedError`: only a worker has models."""
    return run(tensors, params, stop, _no_models, lambda _done: None)


def run(
    tensors: Arrays, params: Params, stop: Callable[[], bool], infer: Infer, tell: Callable[[Done], None]
) -> dict[str, NDArray[Any]]:
    """Execute the steps; `infer` runs a model by its name, `tell` hears of each step that was executed.

    Every error names its step. Between steps `stop` is asked.
    """
    # The registry holds this very operation.
    from npufleet import operations

    given: Arrays = tensors
    before = None
    count = len(params["steps"])
    for index, step in enumerate(params["steps"]):
        row = contract.operation(step["operation"])
        start = time.perf_counter_ns()
        kind = None
        with naming(index, row.name):
            try:
                _ask(stop)
                taken = {
                    name: (tensors if is_request else given)[source]
                    for name, source, is_request in wiring(row, step, before, list(given), list(tensors))
                }
                settings = step.get("params", {})
                with progress.part(index / count, (index + 1) / count):
                    if row.model:
                        given = infer(step["model"], settings, taken)
                    else:
                        given = operations.execute(row.name, taken, settings, stop)
            except FleetError as error:
                kind = error.kind
                raise
            except Exception as error:
                kind = InternalError.kind
                raise InternalError(f"{type(error).__name__}: {error}") from error
            finally:
                tell(Done(row.name, step.get("model"), start, time.perf_counter_ns(), kind))
        before = row
    return dict(given)


def _ask(stop: Callable[[], bool]) -> None:
    if stop():
        raise CallCancelledError("the work was stopped: its answer is no longer wanted")


def _no_models(model: str, _params: Params, _tensors: Arrays) -> dict[str, NDArray[Any]]:
    raise UnsupportedError(f"model '{model}' is not here: models run in workers")
