"""`wavelet`: multilevel discrete wavelet transform along one axis, by PyWavelets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.wire.rules.wavelet import coefficient_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

_MAD: Final = 0.6744897501960817
"""The median magnitude of standard normal noise, which turns a median magnitude into a standard deviation."""


def rows(tensors: Mapping[str, NDArray[Any]], params: Params) -> int:
    """Return the number of lines along the transformed axis."""
    shape = list(next(iter(tensors.values())).shape)
    del shape[int(params["axis"])]
    return math.prod(shape)


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return the coefficients `cA<n>`, `cD<n>` to `cD1` of samples `x`, or the samples `y` of coefficients or of `x`.

    Everything is of the input's dtype and acts along `axis`. Denoising leaves the approximation as it is and takes
    from the details what is below the threshold (Donoho and Johnstone, 1994).
    """
    # Importing PyWavelets takes longer than a whole request; only a worker that transforms pays for it.
    import pywt  # type: ignore[import-untyped]

    wavelet, mode, axis = params["wavelet"], params["mode"], int(params["axis"])
    if params["method"] == "reconstruct":
        coefficients = [_writable(tensors[name]) for name in coefficient_names(tensors)]
        return {"y": pywt.waverec(coefficients, wavelet, mode, axis)}
    x = _writable(tensors["x"])
    approximation, *details = pywt.wavedec(x, wavelet, mode, params.get("level"), axis)
    if params["method"] == "decompose":
        levels = range(len(details), 0, -1)
        return {f"cA{len(details)}": approximation, **{f"cD{n}": d for n, d in zip(levels, details, strict=True)}}
    samples = x.shape[axis]
    threshold = params.get("threshold")
    if threshold is None:
        noise = np.median(np.abs(details[-1]), axis, keepdims=True) / _MAD
        threshold = (noise * math.sqrt(2.0 * math.log(samples))).astype(x.dtype)
    kept = [_shrunk(each, threshold, params["threshold_mode"]) for each in details]
    y = pywt.waverec([approximation, *kept], wavelet, mode, axis)
    # An odd number of samples comes back with one more.
    return {"y": np.take(y, range(samples), axis) if y.shape[axis] > samples else y}


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    # PyWavelets takes no other, though it writes nothing; what a frame holds is read-only.
    return array if array.flags.writeable else array.copy()


def _shrunk(details: NDArray[Any], threshold: Any, mode: str) -> NDArray[Any]:
    """Return what `pywt.threshold` gives, and numbers too where it divides zero by zero or squares what underflows."""
    with np.errstate(all="ignore"):
        if mode == "hard":
            return np.where(np.abs(details) < threshold, 0, details)
        taken = np.copysign(threshold, details) if mode == "soft" else threshold * (threshold / details)
        return np.where(np.abs(details) <= threshold, 0, details - taken.astype(details.dtype))
