"""Whether tensors are what a model wants, as far as the workers that serve it have told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from npufleet.wire.array import as_array

if TYPE_CHECKING:
    from npufleet.model_info import ModelInfo, Port


def misfit(info: ModelInfo, tensors: object) -> str | None:
    """Return what is wrong with a request, or None: a name, a dtype, a rank, a size, or the number of rows.

    A model whose inputs are not known takes everything; the worker decides. Raises `InvalidShapeError` for values
    that are no tensors.
    """
    ports = next((worker.inputs for worker in info.workers if worker.state == "ready" and worker.inputs), ())
    if not ports or not isinstance(tensors, Mapping):
        return None
    wanted = ", ".join(_text(port) for port in ports)
    for name in tensors:
        if all(port.name != name for port in ports):
            return f"unknown tensor '{name}'; model '{info.name}' wants {wanted}"
    for port in ports:
        if port.name not in tensors:
            return f"tensor '{port.name}' is missing; model '{info.name}' wants {wanted}"
        array = as_array(port.name, tensors[port.name])
        if array.dtype.name != port.dtype:
            return f"tensor '{port.name}' has dtype {array.dtype.name}; allowed: {port.dtype}"
        if not _fits(array.shape, port):
            return f"tensor '{port.name}' has shape {list(array.shape)}; model '{info.name}' wants {_text(port)}"
        if port.shape and port.shape[0] is None and not 1 <= array.shape[0] <= info.max_batch:
            return f"tensor '{port.name}' has {array.shape[0]} rows; allowed: 1 to {info.max_batch} (max_batch)"
    return None


def _fits(shape: tuple[int, ...], port: Port) -> bool:
    return port.shape is None or (
        len(shape) == len(port.shape)
        and all(want in (None, have) for want, have in zip(port.shape, shape, strict=True))
    )


def _text(port: Port) -> str:
    sizes = "any" if port.shape is None else ", ".join("?" if size is None else str(size) for size in port.shape)
    return f"{port.name}: {port.dtype}[{sizes}]"
