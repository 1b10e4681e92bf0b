"""Golden numbers of `kalman`, by the equations of the textbook written down one for one, for one line at a time.

Simo Särkkä, Bayesian Filtering and Smoothing (2013): the filter is theorem 4.2 (its covariance in Joseph's form, which
rounding harms least), the smoother theorem 8.2, the likelihood as in its chapter 12. SciPy has none of them.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
Arrays = dict[str, "NDArray[Any]"]
TOLERANCE = {"float32": 1e-6, "float64": 1e-9}

# A body that moves along a line with nearly constant speed, its place measured ten times a second.
MOTION: Arrays = {
    "F": np.array([[1, 0.1], [0, 1]]),
    "H": np.array([[1.0, 0]]),
    "Q": np.array([[0.1**3 / 3, 0.1**2 / 2], [0.1**2 / 2, 0.1]]),
    "R": np.array([[0.25]]),
}
# Three states behind two measurements, all coupled.
COUPLED: Arrays = {
    "F": np.array([[0.9, 0.2, 0], [-0.1, 0.8, 0.1], [0.05, 0, 0.95]]),
    "H": np.array([[1.0, 0, 0.5], [0, 1, -0.5]]),
    "Q": np.array([[0.2, 0.05, 0], [0.05, 0.1, 0.02], [0, 0.02, 0.3]]),
    "R": np.array([[0.5, 0.1], [0.1, 0.4]]),
}


def one_line(model: Arrays, z: NDArray[Any], m: NDArray[Any], p: NDArray[Any], *, smooth: bool) -> tuple[Any, Any, Any]:
    a, h, q, r = (model[name].astype(np.float64) for name in ("F", "H", "Q", "R"))
    means, covariances, before, likelihood = [], [], [], 0.0
    for y in z:
        m_minus, p_minus = a @ m, a @ p @ a.T + q
        v = y - h @ m_minus
        s = h @ p_minus @ h.T + r
        k = p_minus @ h.T @ np.linalg.inv(s)
        rest = np.eye(len(m)) - k @ h
        m, p = m_minus + k @ v, rest @ p_minus @ rest.T + k @ r @ k.T
        likelihood -= 0.5 * (math.log(np.linalg.det(2 * np.pi * s)) + v @ np.linalg.inv(s) @ v)
        means.append(m)
        covariances.append(p)
        before.append((m_minus, p_minus))
    if smooth:
        for step in range(len(means) - 2, -1, -1):
            m_minus, p_minus = before[step + 1]
            g = covariances[step] @ a.T @ np.linalg.inv(p_minus)
            means[step] = means[step] + g @ (means[step + 1] - m_minus)
            covariances[step] = covariances[step] + g @ (covariances[step + 1] - p_minus) @ g.T
    return np.array(means), np.array(covariances), likelihood


def _case(
    name: str, z: NDArray[Any], given: Arrays | None = None, tolerance: float | None = None, **params: Any
) -> Json:
    given = given or {}
    linear = "F" in given
    axis = int(params.get("axis", -2 if linear else -1)) % z.ndim
    series = np.moveaxis(z if linear else z[..., None], axis, -2).astype(np.float64)
    one = np.ones((1, 1))
    model = given
    if not linear:
        model = {
            "F": one,
            "H": one,
            "Q": one * params.get("process_variance", 1e-5),
            "R": one * params.get("measurement_variance", 0.01),
            "P0": one * params.get("initial_variance", 1.0),
        }
    states = len(model["F"])
    means = np.empty((*series.shape[:-1], states))
    likelihood = np.empty(series.shape[:-2])
    start = np.broadcast_to(model.get("x0", np.zeros(states)), (*series.shape[:-2], states)).astype(np.float64)
    covariance = model.get("P0", np.eye(states)).astype(np.float64)
    covariances = np.empty((series.shape[-2], states, states))
    for line in itertools.product(*map(range, likelihood.shape)):
        first = start[line]
        if not linear:
            first = np.array([params.get("initial_mean", series[line][0, 0])])
        found = one_line(model, series[line], first, covariance, smooth=bool(params.get("smooth")))
        means[line], covariances, likelihood[line] = found
    if not likelihood.size:
        _, covariances, _ = one_line(
            model, np.zeros(series.shape[-2:]), np.zeros(states), covariance, smooth=bool(params.get("smooth"))
        )
    x = np.moveaxis(means, -2, axis)
    expected = {"x": x, "P": covariances, "log_likelihood": likelihood}
    if not linear:
        expected |= {"x": x[..., 0], "P": covariances[:, 0, 0]}
    expected = {key: np.asarray(array, z.dtype, order="C") for key, array in expected.items()}
    return answer(name, {"z": z, **given}, params, expected, tolerance or TOLERANCE[z.dtype.name])


def cases() -> list[Json]:
    return [*walks(), *models(), *refusals()]


def walks() -> list[Json]:
    cases = []
    for smooth in (False, True):
        words = "smoothed" if smooth else "filtered"
        for dtype in ("float32", "float64"):
            cases += [_case(f"{n} of {dtype} {words}", samples(n, dtype), smooth=smooth) for n in (1, 2, 3, 17, 50)]
        for q, r, p in ((1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1e-9, 1.0), (1e-3, 10.0, 0.0), (1e6, 1e-6, 1e3)):
            settings = {"process_variance": q, "measurement_variance": r, "initial_variance": p, "smooth": smooth}
            cases.append(_case(f"variances {q}, {r}, {p} {words}", samples(12), None, **settings))
        cases.append(_case(f"an initial mean {words}", samples(12), initial_mean=-3, smooth=smooth))
        cube = samples((2, 5, 3))
        cases += [_case(f"axis {axis} {words}", cube, axis=axis, smooth=smooth) for axis in (-3, -2, -1, 0, 1, 2)]
        x = samples((3, 10))
        x[1, 4] = np.nan
        cases.append(_case(f"NaN in one line of three {words}", x, smooth=smooth))
    sure = {"process_variance": 3.0, "measurement_variance": 0.0}
    cases.append(_case("no measurement noise", samples(1), None, **sure))
    cases.append(_case("settled", samples(90), process_variance=1.0, measurement_variance=1.0))
    cases.append(_case("8 dimensions", samples((1, 2, 1, 1, 2, 1, 1, 4))))
    cases.append(_case("no lines", np.zeros((0, 6))))
    cases.append(_case("no lines behind time", np.zeros((6, 0)), axis=0, smooth=True))
    cases.append(_case("a constant", np.full(9, 2.5)))
    cases.append(_case("zeros", np.zeros(9)))
    cases.append(_case("denormals", samples(9) * 1e-310))
    cases.append(_case("huge", samples(9) * 1e150))
    cases.append(_case("huge floats", (samples(9) * 1e18).astype(np.float32)))
    return cases


def models() -> list[Json]:
    cases = []
    for smooth in (False, True):
        words = "smoothed" if smooth else "filtered"
        cases += [_case(f"motion, {n} steps {words}", samples((n, 1)), MOTION, smooth=smooth) for n in (1, 2, 30)]
        cases.append(_case(f"motion in floats {words}", samples((9, 1), "float32"), MOTION, smooth=smooth))
        singles = {name: array.astype(np.float32) for name, array in COUPLED.items()}
        cases.append(_case(f"matrices of floats {words}", samples((9, 2)), singles, smooth=smooth))
        cases.append(_case(f"coupled {words}", samples((20, 2)), COUPLED, smooth=smooth))
        cases.append(_case(f"coupled lines {words}", samples((2, 3, 7, 2)), COUPLED, smooth=smooth))
        z = samples((2, 3, 4, 2))
        cases += [
            _case(f"coupled, axis {axis} {words}", z, COUPLED, axis=axis, smooth=smooth)
            for axis in (-4, -3, -2, 0, 1, 2)
        ]
        start = {"x0": np.array([1.0, -2, 0.5]), "P0": np.array([[2.0, 0.5, 0], [0.5, 1, 0], [0, 0, 3]])}
        cases.append(_case(f"a start {words}", samples((9, 2)), {**COUPLED, **start}, smooth=smooth))
        cases.append(_case(f"a start for all {words}", samples((3, 5, 2)), {**COUPLED, **start}, smooth=smooth))
        each = {**start, "x0": samples((3, 3), seed=7)}
        cases.append(_case(f"a start for each {words}", samples((3, 5, 2)), {**COUPLED, **each}, smooth=smooth))
        cases.append(
            _case(f"a start for each column {words}", samples((5, 3, 2)), {**COUPLED, **each}, axis=0, smooth=smooth)
        )
        certain = {"P0": np.zeros((3, 3))}
        cases.append(_case(f"a certain start {words}", samples((9, 2)), {**COUPLED, **certain}, smooth=smooth))
        many = {"F": np.array([[0.5]]), "H": np.ones((4, 1)), "Q": np.array([[1.0]]), "R": np.diag([1.0, 2, 3, 4])}
        cases.append(_case(f"one state, four measurements {words}", samples((9, 4)), many, smooth=smooth))
        x = samples((3, 6, 2))
        x[1, 2, 0] = np.nan
        cases.append(_case(f"NaN in a component {words}", x, COUPLED, smooth=smooth))
    still = {**MOTION, "Q": np.zeros((2, 2))}
    cases.append(_case("no process noise", samples((20, 1)), still))
    cases.append(_case("no process noise smoothed", samples((20, 1)), still, smooth=True))
    growing = {**MOTION, "F": np.array([[1.5, 0.1], [0, 1.2]])}
    cases.append(_case("an unstable model", samples((30, 1)), growing, smooth=True))
    large = {"F": np.eye(12) * 0.9, "H": np.eye(12)[:3], "Q": np.eye(12) * 0.1, "R": np.eye(3)}
    cases.append(_case("12 states", samples((3, 3)), large, smooth=True))
    cases.append(_case("no lines of a model", np.zeros((0, 4, 2)), COUPLED))
    return cases


def refusals() -> list[Json]:
    z = samples((4, 2))
    wrong: dict[str, Arrays] = {f"{name} missing": {k: v for k, v in COUPLED.items() if k != name} for name in COUPLED}
    shapes = {
        "F": (2, 2), "H": (2, 2), "Q": (2, 2), "R": (3, 3), "x0": (2,), "P0": (2, 2),
    }  # fmt: skip
    wrong |= {
        f"{name} of shape {list(shape)}": {
            **COUPLED,
            name: np.eye(4)[: shape[0], : shape[-1]] if len(shape) > 1 else np.zeros(shape),
        }
        for name, shape in shapes.items()
    }
    wrong |= {
        "F not square": {**COUPLED, "F": np.zeros((3, 4))},
        "F of three dimensions": {**COUPLED, "F": np.zeros((1, 3, 3))},
        "F of integers": {**COUPLED, "F": np.eye(3, dtype=np.int64)},
        "no states": {"F": np.zeros((0, 0)), "H": np.zeros((2, 0)), "Q": np.zeros((0, 0)), "R": np.eye(2)},
        "no components": {"F": np.eye(2), "H": np.zeros((0, 2)), "Q": np.eye(2), "R": np.zeros((0, 0))},
        "65 states": {"F": np.eye(65), "H": np.zeros((2, 65)), "Q": np.eye(65), "R": np.eye(2)},
        "a start without a model": {"x0": np.zeros(1)},
        "a covariance without a model": {"P0": np.ones((1, 1))},
        "an unknown tensor": {**COUPLED, "B": np.eye(3)},
    }
    cases = [refused(name, frame({"z": z, **given}), "invalid_shape") for name, given in wrong.items()]
    cases += [
        refused("components that H has not", frame({"z": samples((4, 3)), **COUPLED}), "invalid_shape"),
        refused("a model of one dimension", frame({"z": samples(4), **MOTION}), "invalid_shape"),
        refused("no measurements", frame({"z": np.zeros(0)}), "invalid_shape"),
        refused("no measurements of a model", frame({"z": np.zeros((0, 2)), **COUPLED}), "invalid_shape"),
        refused("0-d", frame({"z": np.array(1.0)}), "invalid_shape"),
        refused("no tensor", frame({}), "invalid_shape"),
        refused("integers", frame({"z": np.arange(4)}), "invalid_shape"),
        refused("complex", frame({"z": samples(4, "complex128")}), "invalid_shape"),
    ]
    values: dict[str, Arrays] = {
        f"{name} with {value}": {
            **COUPLED,
            "P0": np.eye(3),
            name: np.full_like({**COUPLED, "P0": np.eye(3)}[name], value),
        }
        for name in (*COUPLED, "P0")
        for value in (np.nan, np.inf)
    }
    values |= {
        "Q not symmetric": {**COUPLED, "Q": np.triu(np.ones((3, 3)))},
        "R not symmetric": {**COUPLED, "R": np.array([[1.0, 0.5], [0, 1]])},
        "P0 not symmetric": {**COUPLED, "P0": np.triu(np.ones((3, 3)))},
        "a variance below 0": {**COUPLED, "R": np.diag([1.0, -1])},
        "R not positive": {**COUPLED, "R": np.array([[1.0, 9], [9, 1]])},
        "nothing uncertain": {**COUPLED, "R": np.zeros((2, 2)), "Q": np.zeros((3, 3)), "P0": np.zeros((3, 3))},
        "two measurements of the same": {**COUPLED, "H": np.array([[1.0, 0, 0], [1, 0, 0]]), "R": np.zeros((2, 2))},
        "a model that overflows": {**COUPLED, "F": np.eye(3) * 1e100},
    }
    cases += [refused(name, frame({"z": z, **given}), "invalid_parameter") for name, given in values.items()]
    certain = {**COUPLED, "Q": np.zeros((3, 3)), "P0": np.zeros((3, 3))}
    content = frame({"z": z, **certain}, {"smooth": True})
    cases.append(refused("nothing to smooth by", content, "invalid_parameter"))
    for params in ({"process_variance": 1}, {"measurement_variance": 1}, {"initial_mean": 0}, {"initial_variance": 1}):
        content = frame({"z": z, **COUPLED}, params)
        cases.append(refused(f"{next(iter(params))} with a model", content, "invalid_parameter"))
    for axis in (-1, 1, 2, -3):
        content = frame({"z": z, **COUPLED}, {"axis": axis})
        cases.append(refused(f"axis {axis} with a model", content, "invalid_parameter"))
    texts = (
        *(
            '{"process_variance":-1}',
            '{"process_variance":"1"}',
            '{"process_variance":1e101}',
            '{"process_variance":NaN}',
        ),
        *('{"measurement_variance":-1e-9}', '{"measurement_variance":null}', '{"measurement_variance":1e101}'),
        *('{"initial_mean":1e101}', '{"initial_mean":-1e101}', '{"initial_variance":-1}', '{"initial_variance":1e101}'),
        *('{"process_variance":0,"measurement_variance":0,"initial_variance":0}', '{"axis":1}', '{"axis":-2}'),
        *('{"axis":0.5}', '{"smooth":1}', '{"smooth":null}', '{"Q":1}', '{"process_noise":1}'),
        '{"process_variance":0,"initial_variance":0,"smooth":true}',
    )
    walk = {"z": samples(4)}
    cases += [refused(f"parameters {text}", parameters_frame(text, walk), "invalid_parameter") for text in texts]
    cases.append(refused("a truncated frame", frame(walk)[:-1], "invalid_frame"))
    return cases
