"""What `filter` demands of its cutoffs, its state and the number of its samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules.common import RANK_LIMIT, check_result, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors

MARGIN: Final = 1e-6
"""Part of the sample rate that a cutoff keeps from 0, from the Nyquist frequency and from the other cutoff."""


def poles(params: Params) -> int:
    """Return how many poles the filter has: a band has two edges, and so twice as many."""
    return int(params["order"]) * (2 if params["btype"].startswith("band") else 1)


def edge(params: Params) -> int:
    """Return how many samples are added at either end for zero phase, as in SciPy: three times the filter's length."""
    return 3 * (poles(params) + 1)


def check(tensors: Tensors, params: Params) -> None:
    """Refuse cutoffs that make no stable filter, too few samples, and a state that does not fit x or is not used."""
    dtype, shape = tensors["x"]
    axis = position(params, len(shape))
    _check_design(params)
    if shape[axis] == 0:
        raise InvalidShapeError(f"tensor 'x' has 0 samples along axis {params['axis']}; allowed: at least 1")
    check_result(math.prod(shape) * (4 if dtype == "F32" else 8))
    if params["zero_phase"]:
        if "zi" in tensors:
            raise InvalidParameterError("parameter 'zero_phase' is true; allowed: false with tensor 'zi'")
        if shape[axis] <= edge(params):
            raise InvalidShapeError(
                f"tensor 'x' has {shape[axis]} samples along axis {params['axis']}; "
                f"allowed: more than {edge(params)} with parameter 'zero_phase'"
            )
        return
    if len(shape) == RANK_LIMIT:
        # The state has one dimension more.
        raise InvalidShapeError(
            f"tensor 'x' has {RANK_LIMIT} dimensions; allowed: at most {RANK_LIMIT - 1} unless with zero phase"
        )
    state = ((poles(params) + 1) // 2, *shape[:axis], 2, *shape[axis + 1 :])
    check_result(math.prod(state) * 8)
    if "zi" in tensors and tensors["zi"][1] != state:
        raise InvalidShapeError(f"tensor 'zi' has shape {list(tensors['zi'][1])}; allowed: {list(state)}")


def _check_design(params: Params) -> None:
    cutoffs, rate = params["cutoff"], params["fs"]
    count = 2 if params["btype"].startswith("band") else 1
    if len(cutoffs) != count:
        raise InvalidParameterError(
            f"parameter 'cutoff' has {len(cutoffs)} numbers; allowed: {count} for {params['btype']}"
        )
    least, most = MARGIN * rate, (0.5 - MARGIN) * rate
    for cutoff in cutoffs:
        if not least <= cutoff <= most:
            raise InvalidParameterError(
                f"parameter 'cutoff' is {cutoff:g}; allowed: {least:g} to {most:g} at a sample rate of {rate:g}"
            )
    if cutoffs[-1] - cutoffs[0] < least and count == 2:
        raise InvalidParameterError(
            f"parameter 'cutoff' is {cutoffs[0]:g}, {cutoffs[1]:g}; allowed: ascending by at least {least:g}"
        )
    if "rp" in params and params["ftype"] != "cheby1":
        raise InvalidParameterError(f"parameter 'rp' is {params['rp']:g}; allowed: for ftype cheby1 only")
