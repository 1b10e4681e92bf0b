"""`spectral`: power spectra, cross spectra and coherence, by SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npufleet.errors import UnsupportedError
from npufleet.operations.shared import segments, window
from npufleet.operations.shared.lines import rows
from npufleet.wire.rules import spectral as rule
from npufleet.wire.rules.common import RESULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

__all__ = ["execute", "rows"]

WINDOWS: dict[str, window.Window] = {"periodogram": "boxcar", "spectrogram": ("tukey", 0.25)}
"""The usual windows that are not hann."""


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return frequencies `f` in Hz and the estimate `Pxx` of `x`, or of `x` and `y`, by `method` along `axis`.

    `Pxx` has the precision of `x`, is complex for csd, and has the bins in place of the axis; a spectrogram has a
    last dimension for the segments, and their times `t` in seconds.
    Raises `UnsupportedError` for more segments than SciPy, which transforms all at once, should be given.
    """
    # Importing SciPy takes longer than a whole request; only a worker that estimates pays for it.
    from scipy import signal  # type: ignore[import-untyped]

    estimate = rule.estimate_of(segments.described(tensors), params)
    method, x = params["method"], tensors["x"]
    y = tensors.get("y", x)
    if x.size * estimate.count * estimate.cut.nfft * 16 > RESULT_LIMIT * x.shape[params["axis"]]:
        raise UnsupportedError(f"{estimate.count} segments of {estimate.cut.nfft} points a line are too many here")
    arguments = segments.arguments(params, x) | {"window": window.named(params, WINDOWS.get(method, "hann"))}
    shape = estimate.shape
    if not x.size:
        # SciPy gives an array without elements another shape; one line tells the frequencies and times all the same.
        x = y = np.zeros(x.shape[params["axis"]], x.dtype)
        arguments["axis"] = -1
    with np.errstate(all="ignore"):  # what is infinite or no number is the answer
        result = _estimate(signal, method, x, y, arguments, params, estimate)
    if not tensors["x"].size:
        result["Pxx"] = np.zeros(shape, result["Pxx"].dtype)
    return result


def _estimate(
    signal: Any,
    method: str,
    x: NDArray[Any],
    y: NDArray[Any],
    arguments: dict[str, Any],
    params: Params,
    estimate: rule.Estimate,
) -> dict[str, NDArray[Any]]:
    if method == "periodogram":
        f, power = signal.periodogram(x, nfft=estimate.cut.nfft, **arguments)
        return {"f": f, "Pxx": power}
    arguments |= segments.lengths(estimate.cut)
    if method == "spectrogram":
        f, t, power = signal.spectrogram(x, **arguments)
        return {"f": f, "Pxx": power, "t": t}
    average = params.get("average", "mean")
    if method == "welch":
        f, power = signal.welch(x, average=average, **arguments)
        return {"f": f, "Pxx": power}
    f, cross = signal.csd(x, y, average=average, **arguments)
    if method == "csd":
        return {"f": f, "Pxx": cross}
    # As scipy.signal.coherence, which cannot be asked for both sides.
    _, power = signal.welch(x, **arguments)
    _, other_power = signal.welch(y, **arguments)
    return {"f": f, "Pxx": np.abs(cross) ** 2 / power / other_power}
