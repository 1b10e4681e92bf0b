"""A pipeline in a worker: its `infer` steps run the models that the worker serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import FleetError, UnknownModelError
from npufleet.operations import pipeline
from npufleet.wire import frame
from npufleet.worker.request import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from npufleet.worker.inference import Model
    from npufleet.worker.request import Request

    Tensors = dict[str, NDArray[Any]]
    Run = Callable[[Sequence[Tensors], Model], list[tuple[Any, str]]]

CPU: Final = "CPU"


def execute(request: Request, typed: Callable[[Exception], FleetError], run: Run) -> Outcome:
    """Execute the steps of a pipeline; the device is that of the last model, if there was one."""
    device = CPU

    def infer(name: str, params: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        nonlocal device
        model = request.endpoint.find_model(name, params)
        if model is None:
            raise UnknownModelError(f"model '{name}' is not served by this worker")
        model.check(tensors)
        ((found, device),) = run([dict(tensors)], model)
        if isinstance(found, FleetError):
            raise found
        answer: Tensors = found
        return answer

    done: list[pipeline.Done] = []
    outcome = Outcome(request, steps=done)
    try:
        result = pipeline.run(request.tensors, request.params, request.stop, infer, done.append)
        outcome.frame = frame.encode(result)
    except Exception as error:  # noqa: BLE001 - becomes the caller's typed error
        outcome.error = typed(error)
    outcome.device = device
    return outcome
