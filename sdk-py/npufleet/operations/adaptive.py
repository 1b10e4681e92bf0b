"""`adaptive`: LMS, NLMS and RLS, by NumPy; all lines learn side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import CallCancelledError, InvalidParameterError
from npufleet.operations.shared import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

    Doubles = NDArray[np.float64]

STEPS_PER_CHECK: Final = 256
MOST_NUMBERS: Final = 1 << 22
"""The most numbers that the inverse correlations of lines side by side may have."""


def rows(tensors: Mapping[str, NDArray[Any]], params: Params) -> int:
    """Return the number of lines along the axis."""
    shape = list(tensors["x"].shape)
    del shape[int(params["axis"])]
    return math.prod(shape)


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return output `y`, error `e` and last weights `w` of a filter that learns to turn `x` into `d`.

    All have the dtype of `x` and are computed in double precision. Raises `InvalidParameterError` when weights
    diverge though all that they learn from is finite.
    """
    dtype, axis, order = tensors["x"].dtype, params["axis"], params["order"]
    x, d = (np.moveaxis(tensors[name], axis, -1).astype(np.float64) for name in ("x", "d"))
    shape, length = x.shape, x.shape[-1]
    lines = math.prod(shape[:-1])
    x, d = x.reshape(lines, length), d.reshape(lines, length)
    w = np.zeros((lines, order))
    if "w0" in tensors:
        given = tensors["w0"]
        w[:] = np.moveaxis(given, axis, -1).reshape(lines, order) if given.shape != (order,) else given
    finite = np.isfinite(w).all(-1) & np.isfinite(x).all(-1) & np.isfinite(d).all(-1)
    y = np.empty_like(x)
    learn = _rls if params["method"] == "rls" else _lms
    together = max(1, MOST_NUMBERS // order**2)
    # What is not a number comes out as such.
    with np.errstate(all="ignore"):
        for first in range(0, lines, together):
            part = slice(first, first + together)
            with progress.part(first / lines, min(first + together, lines) / lines):
                learn(x[part], d[part], w[part], y[part], params, stop)
        diverged = np.flatnonzero(finite & ~np.isfinite(w).all(-1))
        if len(diverged):
            name = "delta" if params["method"] == "rls" else "mu"
            raise InvalidParameterError(
                f"the weights of line {diverged[0]} diverge; allowed: a parameter '{name}' at which they do not"
            )
        outputs = {"y": y.reshape(shape), "e": (d - y).reshape(shape), "w": w.reshape(*shape[:-1], order)}
        return {name: np.asarray(np.moveaxis(array, -1, axis), dtype, "C") for name, array in outputs.items()}


def _lms(x: Doubles, d: Doubles, w: Doubles, y: Doubles, params: Params, stop: Callable[[], bool]) -> None:
    normalised = params["method"] == "nlms"
    mu = params.get("mu", 0.5 if normalised else 0.01)
    padded = np.pad(x, ((0, 0), (w.shape[1] - 1, 0)))
    for step in range(x.shape[1]):
        _check_wanted(step, x.shape[1], stop)
        # The latest sample first.
        taps = padded[:, step : step + w.shape[1]][:, ::-1]
        y[:, step] = (w * taps).sum(-1)
        error = mu * (d[:, step] - y[:, step])
        if normalised:
            error = error / (params.get("eps", 1e-6) + (taps**2).sum(-1))
        w += error[:, np.newaxis] * taps


def _rls(x: Doubles, d: Doubles, w: Doubles, y: Doubles, params: Params, stop: Callable[[], bool]) -> None:
    lines, order = w.shape
    forgetting = params.get("lam", 0.99)
    inverse = np.zeros((lines, order, order)) + np.eye(order) / params.get("delta", 0.01)
    padded = np.pad(x, ((0, 0), (order - 1, 0)))
    for step in range(x.shape[1]):
        _check_wanted(step, x.shape[1], stop)
        taps = padded[:, step : step + order][:, ::-1]
        y[:, step] = (w * taps).sum(-1)
        turned = (inverse @ taps[..., np.newaxis])[..., 0]
        scale = 1 / (forgetting + (taps * turned).sum(-1, keepdims=True))
        w += (d[:, step] - y[:, step])[:, np.newaxis] * turned * scale
        # A product that is the same either way round keeps the inverse exactly symmetric.
        inverse -= turned[:, :, np.newaxis] * turned[:, np.newaxis, :] * scale[..., np.newaxis]
        inverse /= forgetting


def _check_wanted(step: int, steps: int, stop: Callable[[], bool]) -> None:
    if step % STEPS_PER_CHECK == 0:
        if stop():
            raise CallCancelledError("the work was stopped: its answer is no longer wanted")
        progress.report(step / steps)
