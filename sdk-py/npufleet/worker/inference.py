"""OpenVINO: one compiled model, requests checked against its ports, batches of them inferred at once."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import (
    DeviceLostError,
    InternalError,
    InvalidShapeError,
    UnavailableError,
    UnsupportedError,
)
from npufleet.wire import dtype as dtypes
from npufleet.worker import cache
from npufleet.worker.budget import Budget
from npufleet.worker.devices import brief
from npufleet.worker.pools import CPU, Pools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import openvino  # type: ignore[import-untyped]
    from numpy.typing import NDArray

    from npufleet.worker.devices import Runtime

SUCCESSION_SECONDS: Final = 30.0
"""How long requests wait until the next device serves a model whose device is lost."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output; `dtype` is a NumPy name, a dimension is None where the model leaves it open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def describe(self) -> dict[str, Any]:
        """Return the port as plain values, as the registry shows it."""
        return {**asdict(self), "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is to be compiled; `devices` in order of preference, `max_delay` and `patience` in seconds.

    `instances` bounds inferences side by side, `hint` is `latency` or `throughput`, `notes` say why other devices are
    not among these.
    """

    name: str
    version: int
    devices: tuple[str, ...]
    max_batch: int = 1
    precision: str | None = None
    max_delay: float = 0.0
    instances: int | None = None
    hint: str | None = None
    budget: Budget = field(default_factory=Budget)
    patience: float = 10.0
    notes: tuple[str, ...] = ()
    cache_dir: str | None = None
    digest: str = ""


class Model:
    """A model compiled for one device, used by several threads at once.

    `batches` says whether the first dimension is open on all ports, so that requests can share an inference; then
    `max_batch` bounds their rows together. Otherwise each request is inferred alone, with the shapes as they are.
    """

    def __init__(
        self,
        settings: ModelSettings,
        model: openvino.Model,
        device: str,
        compiler: Callable[[Any], Any],
        *,
        may_batch: bool = True,
        on_lost: Callable[[Model, str], None] | None = None,
    ) -> None:
        self.name, self.version, self.max_delay = settings.name, settings.version, settings.max_delay
        self.device = device
        self.inputs = tuple(_port(port) for port in model.inputs)
        self.outputs = tuple(_port(port) for port in model.outputs)
        ports = (*self.inputs, *self.outputs)
        opened = bool(self.inputs) and all(port.shape and port.shape[0] is None for port in ports)
        self.batches = may_batch and opened
        first = next((port.shape[0] for port in self.inputs if port.shape), 1)
        self.max_batch = settings.max_batch if first is None else first
        # An NPU takes fixed shapes only: there, one compilation for each power of two.
        largest = self.max_batch if device == "NPU" and self.batches else None
        share = _share(settings)
        self._pools = Pools(model, compiler, device, largest, settings.budget, share, settings.patience)
        self.notes: tuple[str, ...] = settings.notes
        self._on_lost = on_lost
        self._successor: Future[Model | None] = Future()

    def succeed(self, model: Model | None) -> None:
        """Say which model does the work after the device was lost; None when there is none. Only the first counts."""
        if not self._successor.done():
            self._successor.set_result(model)

    def successor(self, error: DeviceLostError) -> Model | None:
        """Wait for the model that does the work from now on, on the next device; None when there is none."""
        if self._on_lost is None:
            return None
        self._on_lost(self, str(error))
        try:
            return self._successor.result(SUCCESSION_SECONDS)
        except NotInTime:
            return None

    def check(self, tensors: Mapping[str, NDArray[Any]]) -> int:
        """Return a request's rows, or raise `InvalidShapeError` naming the tensor and what is allowed."""
        allowed = ", ".join(port.name for port in self.inputs)
        rows: set[int] = set()
        for port in self.inputs:
            array = tensors.get(port.name)
            if array is None:
                raise InvalidShapeError(f"tensor '{port.name}' is missing for model '{self.name}'; allowed: {allowed}")
            if array.dtype.name != port.dtype:
                raise InvalidShapeError(f"tensor '{port.name}' has dtype {array.dtype.name}; allowed: {port.dtype}")
            fits = array.ndim == len(port.shape) and all(
                want in (None, have) for want, have in zip(port.shape, array.shape, strict=True)
            )
            if not fits or (self.batches and not 1 <= array.shape[0] <= self.max_batch):
                raise InvalidShapeError(
                    f"tensor '{port.name}' has shape {list(array.shape)}; allowed: {self._allowed(port)}"
                )
            if array.ndim:
                rows.add(array.shape[0])
        if len(tensors) > len(self.inputs):
            extra = next(name for name in tensors if all(name != port.name for port in self.inputs))
            raise InvalidShapeError(f"unknown tensor '{extra}' for model '{self.name}'; allowed: {allowed}")
        if self.batches and len(rows) > 1:
            raise InvalidShapeError(f"tensors have {sorted(rows)} rows; allowed: the same number in each")
        return max(rows, default=1) or 1

    def infer(self, members: Sequence[Mapping[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
        """Infer several checked requests at once and return each one's outputs.

        More than one only where `batches`, and no more rows than `max_batch`. Raises `DeviceLostError` or
        `InternalError` for all of them together.
        """
        names = [port.name for port in self.inputs]
        if len(members) == 1:
            return [self._run(members[0])]
        gathered = {name: np.concatenate([member[name] for member in members]) for name in names}
        outputs = self._run(gathered)
        rows = gathered[names[0]].shape[0]
        if any(array.shape[:1] != (rows,) for array in outputs.values()):
            # Cut where they are not rows, callers would get each other's values.
            raise InternalError(f"outputs of model '{self.name}' do not have the {rows} rows of its inputs")
        bounds = np.cumsum([member[names[0]].shape[0] for member in members])[:-1]
        parts = {name: np.split(array, bounds) for name, array in outputs.items()}
        return [{name: parts[name][index] for name in parts} for index in range(len(members))]

    def warm_up(self) -> bool:
        """Infer once on zeros, so that the first caller need not wait; false when outputs lack the rows of the inputs.

        Nothing is done where other dimensions than the first are open.
        """
        zeros = self._zeros()
        if zeros is None:
            return True
        outputs = self._pools.run(zeros, [port.name for port in self.outputs])
        return not self.batches or all(array.shape[:1] == (self._zero_rows,) for array in outputs.values())

    @property
    def _zero_rows(self) -> int:
        return min(2, self.max_batch) if self.batches else 1

    def _zeros(self) -> dict[str, NDArray[Any]] | None:
        """Return made-up input; None where other dimensions than the first are open."""
        rows = self._zero_rows
        shapes = {port.name: (port.shape[0] or rows, *port.shape[1:]) if port.shape else () for port in self.inputs}
        if any(None in shape for shape in shapes.values()):
            return None
        return {port.name: np.zeros([size or 0 for size in shapes[port.name]], port.dtype) for port in self.inputs}

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [port.name for port in self.outputs]
        try:
            return self._pools.run(inputs, names)
        except DeviceLostError:
            raise
        except InternalError as error:
            zeros = None if self.device == CPU else self._zeros()
            if zeros is None:
                raise
            # Either these values are what the model cannot take, or the device fails whatever it gets.
            try:
                self._pools.run(zeros, names)
            except (DeviceLostError, InternalError):
                raise DeviceLostError(f"{self.device} was lost: {error}") from error
            raise

    def _allowed(self, port: Port) -> str:
        rest = ["any" if size is None else str(size) for size in port.shape]
        if self.batches:
            rest[0] = f"1 to {self.max_batch}"
        return f"[{', '.join(rest)}]"


def load(
    runtime: Runtime,
    settings: ModelSettings,
    files: Mapping[str, bytes],
    on_lost: Callable[[Model, str], None] | None = None,
) -> Model:
    """Compile a model from its files' bytes (`model.onnx`, or `model.xml` with `model.bin`) and warm it up.

    The first of the settings' devices that is there and compiles it is used; `on_lost` hears, on an executor's thread,
    when that device fails later. Raises `UnavailableError` without
    OpenVINO or such a device, `UnsupportedError` for an element type that frames lack, `InternalError` otherwise.
    """
    core = runtime.core
    usable = runtime.usable(settings.devices)
    if core is None or not usable:
        reasons = [f"{device.name}: {device.reason}" for device in runtime.devices if device.name in settings.devices]
        raise UnavailableError(f"no device for model '{settings.name}': {'; '.join([*reasons, *settings.notes])}")
    absent = (device for device in runtime.devices if device.name in settings.devices and not device.available)
    failures = [f"{device.name}: {device.reason}" for device in absent]
    for device in usable:
        properties = _properties(runtime, settings, device)

        def compiler(model: Any, device: str = device, properties: dict[str, Any] = properties) -> Any:
            return core.compile_model(model, device, properties)

        def built(device: str = device, compiler: Callable[[Any], Any] = compiler) -> Model:
            model = Model(settings, _opened(core, settings, files), device, compiler, on_lost=on_lost)
            if not model.warm_up():
                # What looks like rows is something else: each request is inferred alone, with the model as it came.
                model = Model(settings, _read(core, files), device, compiler, may_batch=False, on_lost=on_lost)
                model.notes += (f"{device}: not batched: its outputs lack the rows of its inputs",)
            return model

        try:
            model = _kept(built, properties.get("CACHE_DIR"))
        except RuntimeError as error:
            failures.append(f"{device}: {brief(error)}")
        except (InternalError, DeviceLostError, OSError) as error:
            failures.append(f"{device}: {error}")
        else:
            model.notes += tuple(failures)
            return model
    raise InternalError(f"model '{settings.name}' does not load: {'; '.join(failures)}")


def _kept(built: Callable[[], Model], folder: str | None) -> Model:
    """Build with the compiled forms that are kept, and without them where it does not with them."""
    if folder is None:
        return built()
    with cache.sealed(Path(folder)):
        try:
            return built()
        except (RuntimeError, InternalError):
            cache.clear(Path(folder))
            return built()


def _read(core: openvino.Core, files: Mapping[str, bytes]) -> openvino.Model:
    if "model.onnx" in files:
        return core.read_model(files["model.onnx"])
    return core.read_model(files["model.xml"], files["model.bin"])


def _opened(core: openvino.Core, settings: ModelSettings, files: Mapping[str, bytes]) -> openvino.Model:
    """Read a model and open its first dimension to 1 to max_batch rows, where it can be and is not what is asked."""
    model = _read(core, files)
    first = [port.partial_shape[0] for port in model.inputs if len(port.partial_shape)]
    fixed = all(dimension.is_static for dimension in first)
    if fixed and max((dimension.get_length() for dimension in first), default=1) >= settings.max_batch:
        return model
    try:
        _open_first(model, settings.max_batch)
    except RuntimeError:
        # It insists on the rows that it was made with.
        return _read(core, files)
    opened = all(len(port.partial_shape) and port.partial_shape[0].is_dynamic for port in model.outputs)
    return model if opened else _read(core, files)


def _open_first(model: openvino.Model, max_batch: int) -> None:
    from openvino import Dimension, PartialShape

    model.reshape(
        {
            port.get_any_name(): PartialShape([Dimension(1, max_batch), *list(port.partial_shape)[1:]])
            for port in model.inputs
        }
    )


def _properties(runtime: Runtime, settings: ModelSettings, device: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": (settings.hint or "latency").upper()}
    if device == CPU:
        # Several workers share a host: pinned, they would all sit on the same cores.
        properties["ENABLE_CPU_PINNING"] = False
        properties["INFERENCE_NUM_THREADS"] = settings.budget.total
        if settings.instances:
            properties["NUM_STREAMS"] = settings.instances
            del properties["PERFORMANCE_HINT"]
    if settings.precision is not None:
        properties["INFERENCE_PRECISION_HINT"] = settings.precision
    if settings.cache_dir is not None:
        # Compiled models are good for one version, one device and one model only.
        cache = Path(settings.cache_dir) / f"openvino-{runtime.version}" / device / settings.digest
        properties["CACHE_DIR"] = str(cache)
    return properties


def _share(settings: ModelSettings) -> int:
    """Return the threads of the budget that one inference on the CPU takes."""
    if settings.instances:
        return max(1, settings.budget.total // settings.instances)
    return 1 if settings.hint == "throughput" else settings.budget.total


def _port(port: Any) -> Port:
    name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
    kind = port.get_element_type()
    word = kind.get_type_name()
    if word not in _ELEMENT_TYPES:
        raise UnsupportedError(f"port '{name}' has element type {word}; allowed: {', '.join(_ELEMENT_TYPES)}")
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return Port(name, _ELEMENT_TYPES[word], shape)


_ELEMENT_TYPES: Final = {
    "boolean": "bool",
    **{dtype.word.lower(): dtype.numpy.name for dtype in dtypes.DTYPES.values() if dtype.word[0] in "UIF"},
}
"""OpenVINO's element types that a frame can hold, with their NumPy names."""
