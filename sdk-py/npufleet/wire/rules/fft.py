"""What `fft` demands of its axis, its kind of spectrum and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules.common import check_shape, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors


def check(tensors: Tensors, params: Params) -> None:
    """Refuse an axis that x lacks or that is empty, a one-sided spectrum of complex x, and a spectrum too large."""
    dtype, shape = tensors["x"]
    axis = position(params, len(shape))
    if params.get("return_onesided") and dtype.startswith("C"):
        raise InvalidParameterError("parameter 'return_onesided' is true; allowed: false, since x is complex")
    if shape[axis] == 0 and "n" not in params:
        raise InvalidShapeError(
            f"tensor 'x' has 0 samples along axis {params['axis']}; allowed: at least 1, or parameter 'n'"
        )
    points = int(params.get("n", shape[axis]))
    bins = points // 2 + 1 if params.get("return_onesided", not dtype.startswith("C")) else points
    check_shape(dtype, (*shape[:axis], bins, *shape[axis + 1 :]), is_complex=True)
