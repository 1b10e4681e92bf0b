"""What `fft` demands of its axis, its kind of spectrum and its size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules.common import RANK_LIMIT, check_result, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors


def check(tensors: Tensors, params: Params) -> None:
    """Refuse an axis that x lacks or that is empty, a one-sided spectrum of complex x, and a spectrum too large."""
    dtype, shape = tensors["x"]
    rank = len(shape)
    axis = position(params, rank)
    if params.get("return_onesided") and dtype.startswith("C"):
        raise InvalidParameterError("parameter 'return_onesided' is true; allowed: false, since x is complex")
    if shape[axis] == 0 and "n" not in params:
        raise InvalidShapeError(
            f"tensor 'x' has 0 samples along axis {params['axis']}; allowed: at least 1, or parameter 'n'"
        )
    double = dtype in ("F64", "C128")
    if double and rank == RANK_LIMIT:
        # Its complex128 spectrum would be stored with one dimension more.
        raise InvalidShapeError(f"tensor 'x' has {rank} dimensions; allowed: at most {rank - 1} in double precision")
    points = int(params.get("n", shape[axis]))
    bins = points // 2 + 1 if params.get("return_onesided", not dtype.startswith("C")) else points
    check_result(math.prod(shape[:axis]) * math.prod(shape[axis + 1 :]) * bins * (16 if double else 8))
