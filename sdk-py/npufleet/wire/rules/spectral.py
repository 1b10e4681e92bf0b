"""What `spectral` demands of its method, its signals, its segments and its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules import segments, window
from npufleet.wire.rules.common import DTYPES, check_shape, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors

PAIRS: Final = ("csd", "coherence")
"""The methods over two signals."""

AVERAGED: Final = ("welch", "csd")
"""The methods whose average can be chosen."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How lines are cut, how many segments that makes, and the shape of the result."""

    cut: segments.Segments
    count: int
    shape: tuple[int, ...]


def check(tensors: Tensors, params: Params) -> None:
    """Refuse an axis that x lacks or that is empty, what the method does not take, and a result too large."""
    estimate_of(tensors, params)


def estimate_of(tensors: Tensors, params: Params) -> Estimate:
    """Return what is to be estimated, or refuse it."""
    dtype, shape = tensors["x"]
    method = params["method"]
    axis = position(params, len(shape))
    samples = segments.line_length(tensors, params, axis)
    _check_method(tensors, params, method)
    if method == "periodogram":
        window.check(tensors, params)
        nfft = int(params.get("nfft", samples))
        samples = min(nfft, samples)
        cut = segments.Segments(samples, 0, nfft, segments.bins(tensors, params, nfft))
    else:
        cut = segments.check(tensors, params, samples, overlap=8 if method == "spectrogram" else 2)
    count = cut.count(samples)
    if params.get("average") == "median":
        # The median needs the spectra of all segments of a line at once.
        check_shape("F64", (cut.bins, count), is_complex=method == "csd")
    result = (*shape[:axis], cut.bins, *shape[axis + 1 :], *([count] if method == "spectrogram" else []))
    check_shape(dtype, result, is_complex=method == "csd")
    return Estimate(cut, count, result)


def _check_method(tensors: Tensors, params: Params, method: str) -> None:
    for name in ("nperseg", "noverlap"):
        if name in params and method == "periodogram":
            raise InvalidParameterError(f"parameter '{name}' is {params[name]}; allowed: not with method {method}")
    if "average" in params and method not in AVERAGED:
        raise InvalidParameterError(
            f"parameter 'average' is '{params['average']}'; allowed: with method {' or '.join(AVERAGED)} only"
        )
    if ("y" in tensors) != (method in PAIRS):
        given = "given" if "y" in tensors else "missing"
        raise InvalidShapeError(f"tensor 'y' is {given} with method {method}; allowed: with {' and '.join(PAIRS)} only")
    if "y" in tensors and tensors["y"] != tensors["x"]:
        (given, shape), (allowed, like) = [
            (DTYPES[word]["numpy"], shape) for word, shape in (tensors["y"], tensors["x"])
        ]
        raise InvalidShapeError(f"tensor 'y' is {given} of shape {shape}; allowed: {allowed} of shape {like}, as x")
