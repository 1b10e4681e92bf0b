"""Counting the lines along an axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params


def rows(tensors: Mapping[str, NDArray[Any]], params: Params) -> int:
    """Return the number of lines of `x` along `axis`."""
    shape = list(tensors["x"].shape)
    del shape[int(params["axis"])]
    return math.prod(shape)
