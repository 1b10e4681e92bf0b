"""What the rules of several operations share: types, limits, and the checks of an axis and of a result's size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from npufleet.errors import InvalidParameterError, PayloadTooLargeError
from npufleet.wire.document import DOCUMENT

Params = Mapping[str, Any]
"""A request's parameters, each of the type that its row says, with the defaults filled in."""

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""A request's tensors: name to (dtype as a contract word, shape)."""

Rule = Callable[[Tensors, Params], None]

RANK_LIMIT: Final[int] = DOCUMENT["limits"]["dimensions"]
RESULT_LIMIT: Final[int] = DOCUMENT["limits"]["result_bytes"]


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
