"""What a single operation demands beyond its row: rules between its tensors and its parameters.

Checked twice with the same words: before a request is sent, and by the engine that executes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from npufleet.errors import InvalidParameterError, InvalidShapeError, PayloadTooLargeError
from npufleet.wire.document import DOCUMENT

Scalar = bool | int | float | str
"""What a parameter's value can be."""

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""A request's tensors: name to (dtype as a contract word, shape)."""

RANK_LIMIT: Final[int] = DOCUMENT["limits"]["dimensions"]
RESULT_LIMIT: Final[int] = DOCUMENT["limits"]["result_bytes"]


def fft(tensors: Tensors, params: Mapping[str, Scalar]) -> None:
    """Refuse an axis that x lacks or that is empty, a one-sided spectrum of complex x, and a spectrum too large."""
    dtype, shape = tensors["x"]
    axis, rank = int(params["axis"]), len(shape)
    if not -rank <= axis < rank:
        raise InvalidParameterError(f"parameter 'axis' is {axis}; allowed: {-rank} to {rank - 1}")
    if params.get("return_onesided") and dtype.startswith("C"):
        raise InvalidParameterError("parameter 'return_onesided' is true; allowed: false, since x is complex")
    if shape[axis] == 0 and "n" not in params:
        raise InvalidShapeError(f"tensor 'x' has 0 samples along axis {axis}; allowed: at least 1, or parameter 'n'")
    double = dtype in ("F64", "C128")
    if double and rank == RANK_LIMIT:
        # Its complex128 spectrum would be stored with one dimension more.
        raise InvalidShapeError(f"tensor 'x' has {rank} dimensions; allowed: at most {rank - 1} in double precision")
    points = int(params.get("n", shape[axis]))
    bins = points // 2 + 1 if params.get("return_onesided", not dtype.startswith("C")) else points
    lines = math.prod(shape[:axis]) * math.prod(shape[axis:][1:])
    if (size := lines * bins * (16 if double else 8)) > RESULT_LIMIT:
        raise PayloadTooLargeError.of(size, RESULT_LIMIT)


RULES: Final[dict[str, Callable[[Tensors, Mapping[str, Scalar]], None]]] = {"fft": fft}
"""The rule of each operation that has one; its parameters have their defaults filled in."""
