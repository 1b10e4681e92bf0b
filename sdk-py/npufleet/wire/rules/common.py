"""What the rules of several operations share: types, limits, and the checks of an axis and of a result's size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError, PayloadTooLargeError
from npufleet.wire.document import DOCUMENT

Params = Mapping[str, Any]
"""A request's parameters, each of the type that its row says, with the defaults filled in."""

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""A request's tensors: name to (dtype as a contract word, shape)."""

Rule = Callable[[Tensors, Params], None]

RANK_LIMIT: Final[int] = DOCUMENT["limits"]["dimensions"]
RESULT_LIMIT: Final[int] = DOCUMENT["limits"]["result_bytes"]
DTYPES: Final[Mapping[str, Mapping[str, Any]]] = DOCUMENT["dtypes"]
"""Contract words to `numpy` name and `bytes`; nothing here needs NumPy itself, which a Rust worker goes without."""


def position(params: Params, rank: int, name: str = "axis") -> int:
    """Return the axis that a parameter names, counted from the front; refuse one that the tensor lacks."""
    axis = int(params[name])
    if not -rank <= axis < rank:
        raise InvalidParameterError(f"parameter '{name}' is {axis}; allowed: {-rank} to {rank - 1}")
    return axis % rank


def check_result(size: int) -> None:
    """Refuse a result of more bytes than one may ask for."""
    if size > RESULT_LIMIT:
        raise PayloadTooLargeError.of(size, RESULT_LIMIT)


def check_shape(dtype: str, shape: tuple[int, ...], *, is_complex: bool) -> None:
    """Refuse a result of this shape, in the precision of `dtype`, that is too large or has too many dimensions."""
    double = dtype in ("F64", "C128")
    stored = len(shape) + (double and is_complex)
    if stored > RANK_LIMIT:
        # complex128 is stored with one dimension more.
        raise InvalidShapeError(f"the result would be stored with {stored} dimensions; allowed: at most {RANK_LIMIT}")
    check_result(math.prod(shape) * (8 if double else 4) * (2 if is_complex else 1))
