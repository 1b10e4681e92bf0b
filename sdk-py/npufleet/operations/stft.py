"""`stft`: short-time Fourier transform along one axis, by SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npufleet.operations.shared import segments, window
from npufleet.operations.shared.lines import rows
from npufleet.wire.rules import stft as rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

__all__ = ["execute", "rows"]


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return frequencies `f` in Hz, times `t` in seconds and spectra `Zxx` of samples `x`, cut along `axis`.

    `Zxx` is complex in the precision of `x`; the axis has the bins, a last dimension the segments.
    """
    # Importing SciPy takes longer than a whole request; only a worker that transforms pays for it.
    from scipy import signal  # type: ignore[import-untyped]

    x = tensors["x"]
    cut, shape = rule.shape_of(segments.described(tensors), params)
    # SciPy gives an array without elements another shape; one line tells the frequencies and times all the same.
    lines = x if x.size else np.zeros(x.shape[params["axis"]], x.dtype)
    arguments = segments.arguments(params, x) | segments.lengths(cut)
    if not x.size:
        arguments["axis"] = -1
    boundary = None if params["boundary"] == "none" else params["boundary"]
    f, t, spectra = signal.stft(
        lines, window=window.named(params), boundary=boundary, padded=params["padded"], **arguments
    )
    return {"f": f, "t": t, "Zxx": spectra if x.size else np.zeros(shape, spectra.dtype)}
