"""What `adaptive` demands of the shapes of its signals and weights, and which parameters go with which method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules.common import check_result, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors

METHODS: Final = {"mu": ("lms", "nlms"), "eps": ("nlms",), "lam": ("rls",), "delta": ("rls",)}
"""The methods that take a parameter."""

STABLE: Final = 2
"""The step size of nlms at which it is no longer stable."""


def check(tensors: Tensors, params: Params) -> None:
    """Refuse signals that differ in dtype or shape, weights that do not fit, and parameters of another method."""
    (dtype, shape), desired = tensors["x"], tensors["d"]
    axis = position(params, len(shape))
    for name, methods in METHODS.items():
        if name in params and params["method"] not in methods:
            raise InvalidParameterError(
                f"parameter '{name}' is {params[name]:g}; allowed: for method {' and '.join(methods)} only"
            )
    if params["method"] == "nlms" and params.get("mu", 0) >= STABLE:
        raise InvalidParameterError(f"parameter 'mu' is {params['mu']:g}; allowed: below {STABLE} for method nlms")
    if desired != (dtype, shape):
        raise InvalidShapeError(f"tensor 'd' is {desired[0]} {list(desired[1])}; allowed: as x, {dtype} {list(shape)}")
    if shape[axis] == 0:
        raise InvalidShapeError(f"tensor 'x' has 0 samples along axis {params['axis']}; allowed: at least 1")
    weights = (*shape[:axis], params["order"], *shape[axis + 1 :])
    if "w0" in tensors and tensors["w0"][1] not in (weights, (params["order"],)):
        raise InvalidShapeError(
            f"tensor 'w0' has shape {list(tensors['w0'][1])}; allowed: [{params['order']}] or {list(weights)}"
        )
    size = 4 if dtype == "F32" else 8
    check_result(math.prod(shape) * size)
    check_result(math.prod(weights) * size)
