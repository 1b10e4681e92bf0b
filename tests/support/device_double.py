"""A Python worker with a test double of an NPU: OpenVINO's CPU behind what an NPU demands, that fails when told.

Run as `python -m tests.support.device_double`, with a worker's options. The double takes static shapes only. The word
in the file that NPUFLEET_DEVICE_DOUBLE names says how it is: nothing (it works), `lost`, `error` (every inference
fails), or `hang` (no inference ends).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from npufleet.worker import __main__ as program
from npufleet.worker import devices, main

NPU = "NPU"
FAULTS = {
    "lost": "L0 zeFenceHostSynchronize result: ZE_RESULT_ERROR_DEVICE_LOST",
    "error": "L0 zeCommandQueueExecuteCommandLists result: ZE_RESULT_ERROR_UNKNOWN",
}


def word() -> str:
    return Path(os.environ["NPUFLEET_DEVICE_DOUBLE"]).read_text().strip()


def work() -> None:
    if (fault := FAULTS.get(word())) is not None:
        raise RuntimeError(fault)


class DoubleRequest:
    """An inference request of the CPU that fails, or never ends."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def start_async(self, *arguments: Any, **options: Any) -> None:
        work()
        self._request.start_async(*arguments, **options)

    def wait_for(self, milliseconds: int) -> bool:
        self._request.wait()
        return word() != "hang"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


class DoubleModel:
    """A model of the CPU whose requests are doubles."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def create_infer_request(self) -> DoubleRequest:
        return DoubleRequest(self._compiled.create_infer_request())


class DoubleCore:
    """OpenVINO's core with an NPU beside its CPU."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def compile_model(self, model: Any, device: str, properties: dict[str, Any]) -> Any:
        if device != NPU:
            return self._core.compile_model(model, device, properties)
        if model.is_dynamic():
            raise RuntimeError("to_shape was called on a dynamic shape")
        work()
        return DoubleModel(self._core.compile_model(model, "CPU", properties))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


class DoubleRuntime(devices.Runtime):
    """The machine's devices and the double."""

    def __init__(self, names: Any) -> None:
        super().__init__(names)
        self.core = DoubleCore(self.core)  # type: ignore[assignment]
        double = devices.Device(NPU, available=True, full_name="a test double on the CPU")
        self.devices = tuple(double if device.name == NPU else device for device in self.devices)


if __name__ == "__main__":
    main.Runtime = DoubleRuntime  # type: ignore[misc]
    program.main()
