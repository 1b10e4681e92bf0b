"""`resample`: another sampling rate along one axis, by SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npufleet.operations.shared import window
from npufleet.operations.shared.lines import rows
from npufleet.wire.rules import resample as rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

__all__ = ["execute", "rows"]


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return samples `y` of `x` at another rate along `axis`, in the precision of `x`."""
    # Importing SciPy takes longer than a whole request; only a worker that resamples pays for it.
    from scipy import signal  # type: ignore[import-untyped]

    x, axis = tensors["x"], params["axis"]
    num = rule.samples(params, x.shape[axis])
    if not x.size:
        shape = list(x.shape)
        shape[axis] = num
        return {"y": np.zeros(shape, x.dtype)}
    if params["method"] == "fourier":
        weights = window.named(params) if "window" in params else None
        return {"y": signal.resample(x, num, axis=axis, window=weights)}
    padtype = params.get("padtype", "constant")
    up, down = params["up"], params["down"]
    y = signal.resample_poly(x, up, down, axis=axis, window=window.named(params, ("kaiser", 5.0)), padtype=padtype)
    return {"y": y}
