"""What `ifft` demands of its axis and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npufleet.errors import InvalidShapeError
from npufleet.wire.rules.common import check_shape, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors


def check(tensors: Tensors, params: Params) -> None:
    """Refuse an axis that x lacks or that has too few bins, and a signal too large."""
    dtype, shape = tensors["x"]
    axis = position(params, len(shape))
    one_sided = bool(params.get("input_onesided"))
    bins, least = shape[axis], 2 if one_sided else 1
    if bins < least and "n" not in params:
        raise InvalidShapeError(
            f"tensor 'x' has {bins} bins along axis {params['axis']}; allowed: at least {least}, or parameter 'n'"
        )
    points = int(params.get("n", 2 * (bins - 1) if one_sided else bins))
    check_shape(dtype, (*shape[:axis], points, *shape[axis + 1 :]), is_complex=not one_sided)
