"""What a single operation demands beyond its row: rules between its tensors and its parameters.

Checked twice with the same words: before a request is sent, and by the engine that executes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from npufleet.errors import InvalidParameterError, InvalidShapeError

Scalar = bool | int | float | str
"""What a parameter's value can be."""

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""A request's tensors: name to (dtype as a contract word, shape)."""


def fft(tensors: Tensors, params: Mapping[str, Scalar]) -> None:
    """Refuse an axis that x lacks, a one-sided spectrum of complex x, and an axis without samples or length."""
    dtype, shape = tensors["x"]
    axis, rank = int(params["axis"]), len(shape)
    if not -rank <= axis < rank:
        raise InvalidParameterError(f"parameter 'axis' is {axis}; allowed: {-rank} to {rank - 1}")
    if params.get("return_onesided") and dtype.startswith("C"):
        raise InvalidParameterError("parameter 'return_onesided' is true; allowed: false, since x is complex")
    if shape[axis] == 0 and "n" not in params:
        raise InvalidShapeError(f"tensor 'x' has 0 samples along axis {axis}; allowed: at least 1")


RULES: Final[dict[str, Callable[[Tensors, Mapping[str, Scalar]], None]]] = {"fft": fft}
"""The rule of each operation that has one; its parameters have their defaults filled in."""
