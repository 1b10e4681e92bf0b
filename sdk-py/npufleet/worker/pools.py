"""Inference requests of one model on one device, used by one thread at a time each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import DeviceLostError, InternalError
from npufleet.worker.devices import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import openvino  # type: ignore[import-untyped]
    from numpy.typing import NDArray

    from npufleet.worker.budget import Budget

CPU: Final = "CPU"
_LOST: Final = ("DEVICE_LOST", "CL_DEVICE_NOT_AVAILABLE", "device lost", "No available devices", "No available backend")
"""Words by which OpenVINO's plugins say that the device itself is gone."""

_HANGING: Final[list[Any]] = []
"""Requests that a device never answered: it may still be writing into them, so they are never freed."""


class Pools:
    """Inference requests that are made when needed and used again.

    With `largest`, the model is compiled for 1, 2, 4, ... up to so many rows, for a device that takes fixed shapes
    only; requests are padded to the next of them. On the CPU each inference holds `share` threads of the budget; on
    any other device it counts as lost after `patience` seconds without an answer.
    """

    def __init__(
        self,
        model: openvino.Model,
        compiler: Callable[[Any], Any],
        device: str,
        largest: int | None,
        budget: Budget,
        share: int,
        patience: float,
    ) -> None:
        self._model = model
        self._compiler = compiler
        self._device = device
        self._largest = largest
        self._budget = budget
        self._share = share if device == CPU else 0
        self._patience = patience
        self._compiled: dict[int, tuple[Any, list[Any]]] = {}
        # Compiling is done now, so that a model that fails does so before it is announced.
        for rows in [1 << power for power in range(math.ceil(math.log2(largest)))] + [largest] if largest else [0]:
            self._compiled[rows] = self._compile(rows), []

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Infer once and return copies of the outputs; raises `DeviceLostError` or `InternalError`."""
        rows = next(iter(inputs.values())).shape[0] if self._largest else 0
        bucket = min(size for size in self._compiled if size >= rows)
        compiled, idle = self._compiled[bucket]
        if bucket != rows:
            inputs = {name: _padded(array, bucket) for name, array in inputs.items()}
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        try:
            with self._budget.share(self._share):
                self._infer(request, inputs)
        except RuntimeError as error:
            if self._device == CPU:
                # After a failure a graph may take the same values for good, with the shapes of the inference before.
                self._compiled[bucket] = self._compile(bucket), []
            elif any(word in str(error) for word in _LOST):
                raise DeviceLostError(f"{self._device} was lost: {brief(error)}") from error
            raise InternalError(f"inference on {self._device} failed: {brief(error)}") from error
        results = {name: request.get_output_tensor(index).data.copy() for index, name in enumerate(outputs)}
        idle.append(request)
        return {name: array[:rows] for name, array in results.items()} if bucket != rows else results

    def _infer(self, request: Any, inputs: Mapping[str, NDArray[Any]]) -> None:
        # Read-only arrays are copied into the request, writable ones (gathered batches) are used where they are.
        # Not `infer`: on one thread it hides a failure and gives the outputs of the inference before.
        request.start_async(dict(inputs), share_inputs=True)
        if self._device != CPU and not request.wait_for(int(self._patience * 1000)):
            _HANGING.append((request, inputs))
            raise DeviceLostError(f"{self._device} was lost: it does not answer; waited {self._patience:g} s")
        request.wait()

    def _compile(self, rows: int) -> Any:
        if not rows:
            return self._compiler(self._model)
        fixed = self._model.clone()
        fixed.reshape({port.get_any_name(): [rows, *list(port.partial_shape)[1:]] for port in fixed.inputs})
        return self._compiler(fixed)


def _padded(array: NDArray[Any], rows: int) -> NDArray[Any]:
    # A row of the batch again: any other value might be one that the model cannot take.
    return np.concatenate([array, np.repeat(array[-1:], rows - array.shape[0], axis=0)])
