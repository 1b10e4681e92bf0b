"""`kalman`: Kalman filter and Rauch-Tung-Striebel smoother, by NumPy.

The covariances do not depend on the measurements: they are computed once, and all lines follow them together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from npufleet.errors import CallCancelledError, InvalidParameterError
from npufleet.operations.shared import progress
from npufleet.wire.rules.kalman import MODEL, time_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

    Doubles = NDArray[np.float64]

STEPS_PER_CHECK: Final = 256
SYMMETRIC: Final = 1e-6
"""Part of a covariance's largest number by which it may differ from its transpose."""


class Model(NamedTuple):
    """x[k] = F x[k-1] + noise of covariance Q, z[k] = H x[k] + noise of covariance R; P0 is before the first step."""

    F: Doubles
    H: Doubles
    Q: Doubles
    R: Doubles
    P0: Doubles


class Gains(NamedTuple):
    """What of each step does not depend on measurements."""

    predicted: Doubles
    covariance: Doubles
    gain: Doubles
    factor: Doubles
    """The lower Cholesky factor of the innovation's covariance."""


def rows(tensors: Mapping[str, NDArray[Any]], params: Params) -> int:
    """Return the number of lines along time."""
    linear = "F" in tensors
    shape = list(tensors["z"].shape)
    del shape[time_axis(params, len(shape), linear=linear)]
    return math.prod(shape[: len(shape) - linear])


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return the means `x`, the covariances `P` and the `log_likelihood` of the states behind measurements `z`.

    All have the dtype of `z` and are computed in double precision. Raises `InvalidParameterError` when a matrix is
    not finite, a covariance is none, or an innovation's covariance is singular.
    """
    z, linear = tensors["z"], "F" in tensors
    axis = time_axis(params, z.ndim, linear=linear)
    model = _linear(tensors) if linear else _random_walk(params)
    measured = np.moveaxis(z if linear else z[..., np.newaxis], axis, 0).astype(np.float64)
    states = len(model.F)
    first = np.zeros(states)
    if "x0" in tensors:
        first = tensors["x0"].astype(np.float64)
    elif not linear:
        first = np.full(1, params["initial_mean"]) if "initial_mean" in params else measured[0]
    # What is not a number comes out as such.
    with np.errstate(all="ignore"):
        gains = _gains(model, len(measured), stop)
        progress.report(0.4)
        x, log_likelihood = _filter(model, gains, measured, first, stop)
        progress.report(0.6 if params["smooth"] else 1.0)
        covariance = gains.covariance
        if params["smooth"]:
            x, covariance = _smooth(model, gains, x, stop)
        x = np.moveaxis(x, 0, axis)
        if not linear:
            x, covariance = x[..., 0], covariance[:, 0, 0]
        outputs = {"x": x, "P": covariance, "log_likelihood": log_likelihood}
        return {name: np.asarray(array, z.dtype, "C") for name, array in outputs.items()}


def _random_walk(params: Params) -> Model:
    one = np.ones((1, 1))
    return Model(
        one,
        one,
        one * params.get("process_variance", 1e-5),
        one * params.get("measurement_variance", 0.01),
        one * params.get("initial_variance", 1.0),
    )


def _linear(tensors: Mapping[str, NDArray[Any]]) -> Model:
    given = {name: tensors[name].astype(np.float64) for name in (*MODEL, "P0") if name in tensors}
    model = Model(**{"P0": np.eye(len(given["F"])), **given})
    for name, matrix in model._asdict().items():
        if not np.isfinite(matrix).all():
            raise InvalidParameterError(f"tensor '{name}' has numbers that are not finite; allowed: finite numbers")
        if name in ("Q", "R", "P0"):
            uneven = np.abs(matrix - matrix.T).max() > SYMMETRIC * np.abs(matrix).max()
            if uneven or (np.diag(matrix) < 0).any():
                raise InvalidParameterError(
                    f"tensor '{name}' is no covariance; allowed: symmetric, no variance below 0"
                )
    return model


def _gains(model: Model, steps: int, stop: Callable[[], bool]) -> Gains:
    states, components = len(model.F), len(model.H)
    gains = Gains(
        np.empty((steps, states, states)),
        np.empty((steps, states, states)),
        np.empty((steps, states, components)),
        np.empty((steps, components, components)),
    )
    covariance = model.P0
    for step in range(steps):
        _check_wanted(step, stop)
        if step > 1 and np.array_equal(covariance, gains.covariance[step - 2]):
            # Once a covariance repeats itself it is the same for ever.
            for array in gains:
                array[step:] = array[step - 1]
            break
        predicted = model.F @ covariance @ model.F.T + model.Q
        crossed = predicted @ model.H.T
        factor = _factor(model.H @ crossed + model.R, "innovation", step)
        gain = _solve(factor, crossed.T).T
        # Joseph's form: it stays symmetric and positive whatever is rounded.
        rest = np.eye(states) - gain @ model.H
        covariance = _even(rest @ predicted @ rest.T + gain @ model.R @ gain.T)
        gains.predicted[step], gains.covariance[step] = predicted, covariance
        gains.gain[step], gains.factor[step] = gain, factor
    return gains


def _filter(
    model: Model, gains: Gains, measured: Doubles, first: Doubles, stop: Callable[[], bool]
) -> tuple[Doubles, Doubles]:
    lines = measured.shape[1:-1]
    x = np.empty((len(measured), *lines, len(model.F)))
    quadratic = np.zeros(lines)
    mean = np.broadcast_to(first, x.shape[1:])
    for step, (z, gain, factor) in enumerate(zip(measured, gains.gain, gains.factor, strict=True)):
        _check_wanted(step, stop)
        predicted = mean @ model.F.T
        innovation = z - predicted @ model.H.T
        mean = x[step] = predicted + innovation @ gain.T
        quadratic += (_forward(factor, innovation) ** 2).sum(-1)
    constants = measured.shape[-1] * len(measured) * math.log(2 * math.pi)
    determinants = 2 * np.log(np.diagonal(gains.factor, axis1=1, axis2=2)).sum()
    return x, -0.5 * (quadratic + determinants + constants)


def _smooth(model: Model, gains: Gains, x: Doubles, stop: Callable[[], bool]) -> tuple[Doubles, Doubles]:
    smoothed, covariance = x.copy(), gains.covariance.copy()
    for step in range(len(x) - 2, -1, -1):
        _check_wanted(step, stop)
        ahead = gains.predicted[step + 1]
        gain = _solve(_factor(ahead, "predicted", step + 1), model.F @ gains.covariance[step]).T
        smoothed[step] += (smoothed[step + 1] - x[step] @ model.F.T) @ gain.T
        covariance[step] = _even(covariance[step] + gain @ (covariance[step + 1] - ahead) @ gain.T)
    return smoothed, covariance


def _even(matrix: Doubles) -> Doubles:
    return (matrix + matrix.T) / 2


def _factor(matrix: Doubles, name: str, step: int) -> NDArray[Any]:
    """Return the lower Cholesky factor, refusing a matrix that is singular to double precision."""
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        factor = np.zeros_like(matrix)
    least = len(matrix) * np.finfo(np.float64).eps * np.diag(matrix)
    if not (np.diag(factor) ** 2 > least).all() or not np.isfinite(factor).all():
        raise InvalidParameterError(
            f"the {name} covariance of step {step} is singular; allowed: positive definite ones"
        )
    return factor


def _forward(factor: Doubles, lines: Doubles) -> NDArray[Any]:
    """Solve with the lower factor for every line."""
    return np.linalg.solve(factor, lines[..., np.newaxis])[..., 0] if len(factor) > 1 else lines / factor[0, 0]


def _solve(factor: Doubles, right: Doubles) -> Doubles:
    return np.asarray(np.linalg.solve(factor.T, np.linalg.solve(factor, right)))


def _check_wanted(step: int, stop: Callable[[], bool]) -> None:
    if step % STEPS_PER_CHECK == 0 and stop():
        raise CallCancelledError("the work was stopped: its answer is no longer wanted")
