"""`filter`: Butterworth and Chebyshev I filters in second-order sections, by SciPy."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import InvalidParameterError
from npufleet.wire.rules.filter import edge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

DEFAULT_RIPPLE: Final = 0.5
"""Decibels of a Chebyshev filter for which none are given."""

REAL: Final = 100 * np.finfo(np.float64).eps
"""A root whose imaginary part is a smaller part of it than this is real, as in `scipy.signal.zpk2sos`."""

TIE: Final = 1e-12
"""Distances closer than this are equal: only the last bits of rounding tell them apart, and those are no promise."""


def rows(tensors: Mapping[str, NDArray[Any]], params: Params) -> int:
    """Return the number of lines along the axis."""
    shape = list(tensors["x"].shape)
    del shape[int(params["axis"])]
    return math.prod(shape)


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return samples `x` filtered along `axis` as `y`, and unless with zero phase the state behind them as `zf`.

    `y` has the dtype and shape of `x`; `zi` and `zf` are float64 of shape (sections, *shape of x with 2 along axis).
    """
    from scipy import signal  # type: ignore[import-untyped]

    x, axis = tensors["x"], params["axis"]
    sections = design(
        params["order"],
        tuple(frequency / (params["fs"] / 2) for frequency in params["cutoff"]),
        params["btype"],
        params["ftype"],
        params.get("rp", DEFAULT_RIPPLE),
    )
    # Samples that overflow or are not numbers come out as such.
    with np.errstate(all="ignore"):
        double = x.astype(np.float64)
        if params["zero_phase"]:
            y = signal.sosfiltfilt(sections, double, axis=axis, padlen=edge(params))
            return {"y": y.astype(x.dtype)}
        zi = tensors.get("zi")
        if zi is None:
            state = list(x.shape)
            state[axis] = 2
            zi = np.zeros((len(sections), *state))
        y, zf = signal.sosfilt(sections, double, axis=axis, zi=zi)
        return {"y": y.astype(x.dtype), "zf": zf}


@functools.lru_cache(maxsize=64)
def design(order: int, cutoffs: tuple[float, ...], btype: str, ftype: str, ripple: float) -> NDArray[np.float64]:
    """Return the second-order sections of a filter as SciPy writes them; cutoffs are parts of the Nyquist frequency.

    Raises `InvalidParameterError` when double precision cannot hold a stable filter of this design.
    """
    from scipy import signal

    frequency = cutoffs if len(cutoffs) == 2 else cutoffs[0]
    zeros, poles, gain = signal.iirfilter(order, frequency, rp=ripple, btype=btype, ftype=ftype, output="zpk")
    sections = _assemble(zeros, poles, gain)
    # The conditions of Jury: all poles are inside the unit circle.
    stable = (np.abs(sections[:, 5]) < 1) & (np.abs(sections[:, 4]) < 1 + sections[:, 5])
    if not (stable.all() and np.isfinite(sections).all()):
        raise InvalidParameterError(
            f"parameter 'order' is {order}; allowed: an order at which {btype} {list(cutoffs)} is stable "
            "in double precision"
        )
    return sections


def _assemble(zeros: NDArray[Any], poles: NDArray[Any], gain: float) -> NDArray[np.float64]:
    """Pair zeros and poles as `scipy.signal.zpk2sos` does: the poles closest to the unit circle come last.

    Each takes the zeros closest to it. Of equally close ones, which are common where a band is symmetric, the one
    with the smaller real part (then imaginary part) counts as closer. SciPy leaves that to the last bits, and the
    state of a stream that goes on with another engine would not fit.
    """
    left_zeros, left_poles = _halves(zeros), _halves(poles)
    sections = []
    while left_poles:
        first = left_poles.pop(_closest(left_poles, lambda pole: abs(1 - abs(pole))))
        second = first.conjugate()
        if first.imag == 0:
            second = left_poles.pop(_closest(left_poles, lambda pole: abs(1 - abs(pole)), real=True))
        distance = functools.partial(_distance, first)
        zero = left_zeros.pop(_closest(left_zeros, distance))
        other = zero.conjugate()
        if zero.imag == 0:
            other = left_zeros.pop(_closest(left_zeros, distance, real=True))
        section = (1, -(zero + other).real, (zero * other).real, 1, -(first + second).real, (first * second).real)
        sections.append(section)
    array = np.array(sections[::-1])
    array[0, :3] *= gain
    return array


def _halves(roots: NDArray[Any]) -> list[complex]:
    """Return one root of each conjugate pair, the real ones exactly real, and a zero where they are odd in number."""
    snapped = [complex(root.real, 0.0 if abs(root.imag) <= REAL * abs(root) else root.imag) for root in roots]
    return [root for root in snapped if root.imag >= 0] + [0j] * (len(snapped) % 2)


def _distance(one: complex, other: complex) -> float:
    return abs(one - other)


def _closest(roots: list[complex], distance: Callable[[complex], float], *, real: bool = False) -> int:
    best = -1
    for index, root in enumerate(roots):
        if real and root.imag != 0:
            continue
        if best < 0 or _precedes(distance(root) - distance(roots[best]), root - roots[best]):
            best = index
    return best


def _precedes(nearer: float, apart: complex) -> bool:
    return next((key < 0 for key in (nearer, apart.real, apart.imag) if abs(key) > TIE), False)
