"""What `resample` demands of its method, its axis and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules import window
from npufleet.wire.rules.common import check_shape, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors

ONLY_WITH: Final = {"num": "fourier", "padtype": "polyphase"}
"""The parameters of a single method."""


def check(tensors: Tensors, params: Params) -> None:
    """Refuse an axis that x lacks or that is too short, what the method does not take, and a result too large."""
    window.check(tensors, params)
    dtype, shape = tensors["x"]
    axis = position(params, len(shape))
    given, padtype = shape[axis], params.get("padtype")
    least = 2 if padtype in ("line", "reflect") else 1
    for name, method in ONLY_WITH.items():
        if name in params and params["method"] != method:
            raise InvalidParameterError(f"parameter '{name}' is {params[name]}; allowed: with method {method} only")
    if given < least:
        with_padtype = f" with padtype {padtype}" if least > 1 else ""
        raise InvalidShapeError(
            f"tensor 'x' has {given} samples along axis {params['axis']}; allowed: at least {least}{with_padtype}"
        )
    check_shape(dtype, (*shape[:axis], samples(params, given), *shape[axis + 1 :]), is_complex=False)


def samples(params: Params, given: int) -> int:
    """Return how many samples a line of so many becomes."""
    return int(params.get("num", -(-given * params["up"] // params["down"])))
