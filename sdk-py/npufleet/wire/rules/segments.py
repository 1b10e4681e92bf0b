"""How lines are cut into segments: what `stft` and `spectral` demand, and what follows for their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules import window

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors

USUAL_LENGTH = 256
"""Samples of a segment, unless a request says how many or the line is shorter."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Lengths in samples of a segment, of what it shares with the next, and of its transform; its bins."""

    nperseg: int
    noverlap: int
    nfft: int
    bins: int

    def count(self, samples: int) -> int:
        """Return how many whole segments a line of so many samples has."""
        return (samples - self.nperseg) // (self.nperseg - self.noverlap) + 1


def line_length(tensors: Tensors, params: Params, axis: int) -> int:
    """Return the samples of `x` along the axis; refuse none."""
    samples = tensors["x"][1][axis]
    if samples == 0:
        raise InvalidShapeError(f"tensor 'x' has 0 samples along axis {params['axis']}; allowed: at least 1")
    return samples


def bins(tensors: Tensors, params: Params, nfft: int) -> int:
    """Return the length of a spectrum; refuse a one-sided one of complex samples."""
    is_complex = tensors["x"][0].startswith("C")
    one_sided = params.get("return_onesided", not is_complex)
    if one_sided and is_complex:
        raise InvalidParameterError("parameter 'return_onesided' is true; allowed: false, since x is complex")
    return nfft // 2 + 1 if one_sided else nfft


def check(tensors: Tensors, params: Params, samples: int, overlap: int) -> Segments:
    """Return the segments of lines of so many samples, whose usual overlap is nperseg // `overlap`.

    Refuses what contradicts the samples or another parameter.
    """
    window.check(tensors, params)
    nperseg = int(params.get("nperseg", min(USUAL_LENGTH, samples)))
    if nperseg > samples:
        raise InvalidParameterError(
            f"parameter 'nperseg' is {nperseg}; allowed: 1 to {samples}, the samples along axis {params['axis']}"
        )
    noverlap = int(params.get("noverlap", nperseg // overlap))
    if noverlap >= nperseg:
        raise InvalidParameterError(f"parameter 'noverlap' is {noverlap}; allowed: 0 to {nperseg - 1}, below nperseg")
    nfft = int(params.get("nfft", nperseg))
    if nfft < nperseg:
        raise InvalidParameterError(f"parameter 'nfft' is {nfft}; allowed: at least {nperseg}, as nperseg")
    return Segments(nperseg, noverlap, nfft, bins(tensors, params, nfft))
