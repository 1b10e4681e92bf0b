"""Tensors and parameters to bytes and back: a frame is a safetensors file in memory."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire import dtype as dtypes
from npufleet.wire import layout
from npufleet.wire.array import as_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Buffer = bytes | bytearray | memoryview

CACHE_ENTRIES: Final = 1024
CACHED_HEADER: Final = 4096
"""Longer headers are parsed each time, so that a full cache stays within a few MiB whatever arrives."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_unpack_length: Final = struct.Struct("<Q").unpack_from
_view: Final = np.ndarray
_ndarray: Final = np.ndarray


class Plan:
    """How arrays of known names, dtypes and shapes become a frame: the header, then which array and how."""

    __slots__ = ("_steps", "header", "total")

    def __init__(self, arrays: Mapping[str, NDArray[Any]], params: str) -> None:
        rows = [(name, _dtype(name, array), array.shape) for name, array in arrays.items()]
        # The widest elements first, as the safetensors library does: then every tensor is aligned to its own.
        order = sorted(range(len(rows)), key=lambda index: -rows[index][1].size)
        self.header, data = layout.write([rows[index] for index in order], params)
        self.total = len(self.header) + data
        swapped = any(array.dtype != row[1].numpy for array, row in zip(arrays.values(), rows, strict=True))
        # None when the arrays go out as they are and in the order they came.
        self._steps = [(i, rows[i][1].numpy) for i in order] if swapped or order != sorted(order) else None

    def join(self, arrays: tuple[NDArray[Any], ...]) -> bytes:
        """Return the frame of arrays that have the plan's dtypes and shapes, in the order they were planned."""
        parts: tuple[Any, ...] = arrays
        if self._steps is not None:
            # To the byte order that an array has already is no copy.
            parts = tuple([arrays[index].astype(little, copy=False) for index, little in self._steps])
        try:
            return b"".join((self.header, *parts))
        except (TypeError, ValueError, BufferError):
            # One is not contiguous; which of these says so depends on the Python version. This way round, because
            # asking each time costs more than it saves.
            return b"".join((self.header, *[part.tobytes() for part in parts]))


def encode(tensors: Mapping[str, object], params: Mapping[str, object] | None = None) -> bytes:
    """Return the frame of any array-likes (see `as_array`) and any JSON parameters.

    Raises `InvalidShapeError` for a tensor that no frame can hold, `InvalidParameterError` for parameters that are
    no JSON or not finite, and for a header longer than 64 KiB.
    """
    arrays = {name: as_array(name, value) for name, value in tensors.items()}
    text = params_text(params)
    values = tuple(arrays.values())
    key = (tuple(arrays), tuple(a.dtype for a in values), tuple(a.shape for a in values), text)
    plan = _PLANS.get(key)
    if plan is None:
        plan = remember(_PLANS, key, Plan(arrays, text))
    return plan.join(values)


def decode(buffer: Buffer) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return a frame's tensors, as read-only views of the buffer, and its parameters.

    Raises `InvalidFrameError`, or `InvalidParameterError` when a parameter is not finite, whatever the bytes are.
    """
    data: bytes | memoryview = buffer if type(buffer) is bytes else memoryview(buffer).cast("B").toreadonly()
    reader = reader_of(data)
    return reader.tensors(data), reader.parameters()


def tensors_of(data: bytes | memoryview) -> dict[str, NDArray[Any]]:
    """Return a frame's tensors, as read-only views of it; raises what `decode` raises."""
    return reader_of(data).tensors(data)


def reader_of(data: bytes | memoryview) -> Reader:
    """Check a frame's header and return what reads frames that start like it; raises what `decode` raises.

    Every reply comes through here, nearly always with a header that is known.
    """
    global _last
    size = len(data)
    if type(data) is bytes and size == _last.total and data.startswith(_last.header):
        return _last
    if size >= layout.PREFIX:
        end = _unpack_length(data)[0] + layout.PREFIX
        if end <= CACHED_HEADER:
            reader = _READERS.get(bytes(data[:end]))
            if reader is not None and reader.total == size:
                _last = reader
                return reader
    header = bytes(data[: layout.header_end(data)])
    reader = Reader(header, size)
    return remember(_READERS, header, reader) if len(header) <= CACHED_HEADER else reader


def params_text(params: Mapping[str, object] | None) -> str:
    """Return parameters as the JSON text that a header carries, empty when there are none."""
    if not params:
        return ""
    try:
        text = json.dumps(dict(params), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidParameterError(f"parameters are no JSON: {error}") from error
    return text


def remember(cache: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    """Keep a value in a bounded cache and return it."""
    if len(cache) >= CACHE_ENTRIES:
        # One atomic call instead of a careful eviction: programs with this many layouts gain nothing from either.
        cache.clear()
    cache[key] = value
    return value


class Reader:
    """A checked header: what `np.ndarray` needs to view each tensor, and the parameters."""

    __slots__ = ("_nested", "_params", "_text", "_views", "header", "total")

    def __init__(self, header: bytes, size: int) -> None:
        found = layout.read(header, size)
        self.header = header
        self.total = size
        self._views = [(entry.name, entry.shape, entry.dtype.numpy, entry.start) for entry in found.tensors]
        self._text = found.params
        self._params = layout.parse_params(found.params) if found.params else {}
        self._nested = any(isinstance(value, list | dict) for value in self._params.values())

    def tensors(self, data: bytes | memoryview) -> dict[str, NDArray[Any]]:
        """Return the tensors of a frame with this header, as read-only views of it."""
        views = {}
        # No comprehension: for the usual one tensor, its own function call costs as much as the view.
        for name, shape, dtype, start in self._views:
            views[name] = _view(shape, dtype, data, start)
        return views

    def parameters(self) -> dict[str, Any]:
        """Return the parameters; each caller owns what it gets."""
        # A shared nested value would let one request change the next.
        return layout.parse_params(self._text) if self._nested else self._params.copy()


def _dtype(name: str, array: NDArray[Any]) -> dtypes.Dtype:
    found = dtypes.of(array.dtype)
    if found is None:
        raise InvalidShapeError(f"tensor '{name}' has dtype {array.dtype}, which no frame can hold")
    return found


_PLANS: dict[Any, Plan] = {}
_READERS: dict[bytes, Reader] = {}

_EMPTY: Final = layout.write((), "")[0]
_last = Reader(_EMPTY, len(_EMPTY))
"""The reader that was asked for last: frames come in runs of the same header, and this is the cheapest question."""
