"""What `wavelet` demands of its tensors, its level and the parameters of its method."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules.common import DTYPES, check_result, position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npufleet.wire.rules.common import Params, Tensors

_ONLY_FOR: Final = {"level": ("decompose", "denoise"), "threshold": ("denoise",)}
_TAPS: Final = {"db": 2, "sym": 2, "coif": 6}
"""Taps that a filter has per order of its family."""


def check(tensors: Tensors, params: Params) -> None:
    """Refuse tensors of another method, a level that x is too short for, and coefficients that do not fit together."""
    method = params["method"]
    for name, methods in _ONLY_FOR.items():
        if name in params and method not in methods:
            raise InvalidParameterError(
                f"parameter '{name}' is {params[name]:g}; allowed: none, since method is {method}"
            )
    if method == "reconstruct":
        _check_coefficients(tensors, params)
        return
    _refuse_others(tensors, ["x"], method)
    dtype, shape = tensors["x"]
    axis = position(params, len(shape))
    samples, taps = shape[axis], filter_length(params["wavelet"])
    if samples == 0:
        raise InvalidShapeError(f"tensor 'x' has 0 samples along axis {params['axis']}; allowed: at least 1")
    most = maximum_level(samples, taps)
    least = 1 if method == "denoise" else 0
    if most < least:
        needed = 2 * (taps - 1)
        raise InvalidShapeError(f"tensor 'x' has {samples} samples along axis {params['axis']}; allowed: {needed} up")
    level = params.get("level", most)
    if not least <= level <= most:
        raise InvalidParameterError(
            f"parameter 'level' is {level}; allowed: {least} to {most} for {samples} samples and {params['wavelet']}"
        )
    lines = math.prod(shape[:axis]) * math.prod(shape[axis + 1 :])
    # What is denoised is no larger than what came.
    counts = lengths(samples, taps, params["mode"], level) if method == "decompose" else [0]
    check_result(lines * (sum(counts[1:]) + counts[-1]) * DTYPES[dtype]["bytes"])


def filter_length(wavelet: str) -> int:
    """Return the number of taps of a wavelet's filters."""
    family = wavelet.rstrip("0123456789")
    return 2 if family == "haar" else _TAPS[family] * int(wavelet.removeprefix(family))


def maximum_level(samples: int, taps: int) -> int:
    """Return the level at which a coefficient free of both ends is left, as `pywt.dwt_max_level`."""
    return max((samples // (taps - 1)).bit_length() - 1, 0)


def lengths(samples: int, taps: int, mode: str, level: int) -> list[int]:
    """Return the samples and then the coefficients of each level, from the finest."""
    counts = [samples]
    for _ in range(level):
        counts.append((counts[-1] + 1) // 2 if mode == "periodization" else (counts[-1] + taps - 1) // 2)
    return counts


def coefficient_names(names: Iterable[str]) -> list[str]:
    """Return the names from cA<n>, cD<n> to cD1; refuse a set that lacks one or holds more than one cA."""
    given = list(names)
    approximations = [name for name in given if re.fullmatch(r"cA[0-9]+", name)]
    if len(approximations) != 1:
        raise InvalidShapeError(f"tensors hold {len(approximations)} approximations; allowed: exactly one cA<n>")
    level = int(approximations[0][2:])
    wanted = [approximations[0], *(f"cD{each}" for each in range(level, 0, -1))]
    _refuse_others(given, wanted, "reconstruct")
    return wanted


def _refuse_others(given: Iterable[str], wanted: list[str], method: str) -> None:
    given = list(given)
    for name in wanted:
        if name not in given:
            raise InvalidShapeError(f"tensor '{name}' is missing to {method}")
    for name in given:
        if name not in wanted:
            raise InvalidShapeError(f"tensor '{name}' is not used to {method}; allowed: {', '.join(wanted)}")


def _check_coefficients(tensors: Tensors, params: Params) -> None:
    first, *details = coefficient_names(tensors)
    dtype, shape = tensors[first]
    axis = position(params, len(shape))
    others = shape[:axis] + shape[axis + 1 :]
    count = shape[axis]
    if count == 0:
        raise InvalidShapeError(f"tensor '{first}' has 0 coefficients along axis {params['axis']}; allowed: 1 up")
    taps = filter_length(params["wavelet"])
    for name in details:
        found, detail = tensors[name]
        if found != dtype:
            wanted = DTYPES[dtype]["numpy"]
            raise InvalidShapeError(f"tensor '{name}' has dtype {DTYPES[found]['numpy']}; allowed: {wanted}")
        # The samples of an odd number come back with one more, which the next level leaves out.
        allowed = [each for each in (count - 1, count) if each > 0]
        if len(detail) != len(shape) or detail[:axis] + detail[axis + 1 :] != others or detail[axis] not in allowed:
            texts = [str([*shape[:axis], each, *shape[axis + 1 :]]) for each in allowed]
            raise InvalidShapeError(f"tensor '{name}' has shape {list(detail)}; allowed: {' or '.join(texts)}")
        count = 2 * detail[axis] - (0 if params["mode"] == "periodization" else taps - 2)
        if count < 1:
            raise InvalidShapeError(
                f"tensor '{name}' has {detail[axis]} coefficients along axis {params['axis']}; "
                f"allowed: {taps // 2} up for {params['wavelet']}"
            )
    check_result(math.prod(others) * count * DTYPES[dtype]["bytes"])
