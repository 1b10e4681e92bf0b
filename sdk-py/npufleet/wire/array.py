"""Any array-like as a NumPy array that a frame can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npufleet.errors import InvalidShapeError
from npufleet.wire import dtype as dtypes
from npufleet.wire.contract import RANK_LIMIT

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_ALLOWED = ", ".join(row.numpy.name for row in dtypes.DTYPES.values())


def as_array(name: str, value: object) -> NDArray[Any]:
    """Return tensor `name` as an array, without a copy where the value allows it.

    Accepts NumPy arrays, anything with `__dlpack__` (on the host), the buffer protocol, `__array__`, scalars and
    nested sequences. The array may be big-endian or strided: encoding takes care of that.
    Raises `InvalidShapeError` naming the tensor for masked arrays, ragged sequences, more than 8 dimensions, and
    dtypes that a frame cannot hold (objects, text, dates, extended precision).
    """
    array = value if isinstance(value, np.ndarray) else _converted(name, value)
    if isinstance(array, np.ma.MaskedArray):
        # Its mask would be lost on the way, and hidden values would come back as data.
        raise InvalidShapeError(f"tensor '{name}' is a masked array; fill it first")
    _check(name, array.dtype, array.ndim)
    return array


def check_array(name: str, dtype: DTypeLike, shape: int | tuple[int, ...]) -> None:
    """Raise `InvalidShapeError` unless a frame can hold arrays of that dtype and shape."""
    try:
        _check(name, np.dtype(dtype), len(shape) if isinstance(shape, tuple) else 1)
    except TypeError as error:
        raise InvalidShapeError(f"tensor '{name}' has dtype {dtype!r}; allowed: {_ALLOWED}") from error


def _check(name: str, dtype: np.dtype[Any], dimensions: int) -> None:
    if dtypes.of(dtype) is None:
        raise InvalidShapeError(f"tensor '{name}' has dtype {dtype}; allowed: {_ALLOWED}")
    if dimensions > RANK_LIMIT:
        raise InvalidShapeError(f"tensor '{name}' has {dimensions} dimensions; allowed: at most {RANK_LIMIT}")


def _converted(name: str, value: object) -> NDArray[Any]:
    if isinstance(value, bytes):
        return np.frombuffer(value, np.uint8)
    try:
        if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (ValueError, TypeError, BufferError, RuntimeError, AttributeError) as error:
        raise InvalidShapeError(f"tensor '{name}' is no array: {type(value).__name__}: {error}") from error
