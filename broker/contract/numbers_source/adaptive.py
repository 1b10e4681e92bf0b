"""Golden numbers of `adaptive`, by the equations of the textbook written down one for one, for one line at a time.

Simon Haykin, Adaptive Filter Theory (5th edition, 2014): LMS is summarised in chapter 6, NLMS in chapter 7, RLS in
chapter 10. SciPy has none of them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float32": 1e-6, "float64": 1e-9}
METHODS = ("lms", "nlms", "rls")


def one_line(x: NDArray[Any], d: NDArray[Any], w: NDArray[Any], **params: Any) -> tuple[Any, Any, Any]:
    order, method = len(w), params.get("method", "lms")
    y, e = np.empty(len(x)), np.empty(len(x))
    p = np.eye(order) / params.get("delta", 0.01)
    lam = params.get("lam", 0.99)
    for n in range(len(x)):
        u = np.array([x[n - i] if n >= i else 0.0 for i in range(order)])
        y[n] = w @ u
        e[n] = d[n] - y[n]
        if method == "lms":
            w = w + params.get("mu", 0.01) * u * e[n]
        elif method == "nlms":
            w = w + params.get("mu", 0.5) / (params.get("eps", 1e-6) + u @ u) * u * e[n]
        else:
            k = p @ u / lam / (1 + u @ p @ u / lam)
            w = w + k * e[n]
            p = p / lam - np.outer(k, u @ p) / lam
    return y, e, w


def _case(
    name: str,
    x: NDArray[Any],
    d: NDArray[Any] | None = None,
    w0: NDArray[Any] | None = None,
    tolerance: float | None = None,
    **params: Any,
) -> Json:
    axis, order = int(params.get("axis", -1)) % x.ndim, int(params.get("order", 8))
    d = samples(x.shape, x.dtype.name, seed=9) if d is None else d
    inputs, desired = (np.moveaxis(array, axis, -1).astype(np.float64) for array in (x, d))
    y, e, w = np.empty(inputs.shape), np.empty(inputs.shape), np.empty((*inputs.shape[:-1], order))
    start = np.zeros(order) if w0 is None else w0.astype(np.float64)
    start = np.broadcast_to(start if start.ndim == 1 else np.moveaxis(start, axis, -1), w.shape)
    with np.errstate(all="ignore"):
        for line in itertools.product(*map(range, w.shape[:-1])):
            y[line], e[line], w[line] = one_line(inputs[line], desired[line], start[line], **params)
    expected = {
        key: np.asarray(np.moveaxis(array, -1, axis), x.dtype, "C") for key, array in {"y": y, "e": e, "w": w}.items()
    }
    tensors = {"x": x, "d": d} if w0 is None else {"x": x, "d": d, "w0": w0}
    return answer(name, tensors, params, expected, tolerance or TOLERANCE[x.dtype.name])


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def answers() -> list[Json]:
    cases = []
    for method in METHODS:
        for dtype in ("float32", "float64"):
            cases += [_case(f"{method}, {n} of {dtype}", samples(n, dtype), method=method) for n in (1, 2, 7, 40)]
        for order in (1, 2, 3, 4, 5, 9, 16, 17):
            cases.append(_case(f"{method}, {order} taps", samples(25), method=method, order=order))
        cases.append(_case(f"{method}, more taps than samples", samples(5), method=method, order=31))
        cube = samples((2, 6, 3))
        for axis in (-3, -2, -1, 0, 1, 2):
            cases.append(_case(f"{method}, axis {axis}", cube, method=method, axis=axis, order=3))
        seven = samples((1, 2, 1, 1, 2, 1, 1, 3), "float32")
        cases.append(_case(f"{method}, 8 dimensions", seven, method=method, order=2))
        cases.append(_case(f"{method}, no lines", np.zeros((0, 4)), method=method))
        cases.append(_case(f"{method}, no lines behind the axis", np.zeros((4, 0)), method=method, axis=0))
        w0 = samples(4, seed=3)
        cases.append(_case(f"{method}, weights to begin with", samples(9), None, w0, method=method, order=4))
        cases.append(_case(f"{method}, weights for all", samples((3, 9)), None, w0, method=method, order=4))
        each = samples((3, 4), seed=3)
        cases.append(_case(f"{method}, weights for each", samples((3, 9)), None, each, method=method, order=4))
        columns = np.ascontiguousarray(each.T)
        cases.append(
            _case(f"{method}, weights for each column", samples((9, 3)), None, columns, method=method, order=4, axis=0)
        )
        mixed = samples(4, "float32", seed=3)
        cases.append(_case(f"{method}, weights of floats", samples(9), None, mixed, method=method, order=4))
        x = samples(120)
        d = np.convolve(x, [0.5, -0.25, 0.125])[:120]
        cases.append(_case(f"{method}, an echo to be learnt", x, d, method=method, order=3))
        cases.append(_case(f"{method}, zeros", np.zeros(6), method=method, order=3))
        cases.append(
            _case(f"{method}, silence in between", np.concatenate([x[:9], np.zeros(9), x[9:18]]), method=method)
        )
        cases.append(_case(f"{method}, denormals", samples(9) * 1e-310, method=method, order=3))
        x = samples((3, 20))
        x[1, 7] = np.nan
        cases.append(_case(f"{method}, NaN in one line of three", x, method=method))
        d = samples((3, 20), seed=9)
        d[2, 7] = np.inf
        cases.append(_case(f"{method}, infinity in one line of three", samples((3, 20)), d, method=method))
    x = samples(20)
    cases += [_case(f"lms, mu {mu}", x, mu=mu) for mu in (0, 1e-6, 0.1, 0.3)]
    cases += [_case(f"nlms, mu {mu}", x, method="nlms", mu=mu) for mu in (0, 1e-6, 1, 1.99)]
    cases += [_case(f"nlms, eps {eps}", x, method="nlms", eps=eps) for eps in (1e-12, 1.0, 1e12)]
    cases += [_case(f"rls, lam {lam}", x, method="rls", lam=lam, order=4) for lam in (0.5, 0.9, 0.999, 1)]
    cases += [_case(f"rls, lam {lam}", x[:8], method="rls", lam=lam, order=2, tolerance=1e-6) for lam in (0.01, 0.1)]
    cases += [_case(f"rls, delta {delta}", x, method="rls", delta=delta, tolerance=1e-8) for delta in (1e-4, 1.0, 1e9)]
    cases.append(_case("rls, least delta", x, method="rls", delta=1e-9, order=3, tolerance=1e-6))
    cases.append(_case("512 taps", samples(4), order=512))
    return cases


def refusals() -> list[Json]:
    x = samples(4)
    shapes: dict[str, tuple[dict[str, NDArray[Any]], Json]] = {
        f"dtype {dtype}": ({"x": np.ones(4, dtype), "d": np.ones(4, dtype)}, {})
        for dtype in ("int64", "float16", "bool", "complex64")
    }
    shapes |= {
        "0-d": ({"x": np.array(1.0), "d": np.array(1.0)}, {}),
        "no tensor": ({}, {}),
        "nothing desired": ({"x": x}, {}),
        "no input": ({"d": x}, {}),
        "another name": ({"x": x, "d": x, "y": x}, {}),
        "no samples": ({"x": np.zeros(0), "d": np.zeros(0)}, {}),
        "too little desired": ({"x": x, "d": x[:3]}, {}),
        "desired of more dimensions": ({"x": x, "d": x[np.newaxis]}, {}),
        "desired of another dtype": ({"x": x, "d": x.astype(np.float32)}, {}),
        "too few weights": ({"x": x, "d": x, "w0": np.zeros(7)}, {}),
        "weights of another order": ({"x": x, "d": x, "w0": np.zeros(8)}, {"order": 4}),
        "weights of other lines": ({"x": samples((3, 4)), "d": samples((3, 4)), "w0": np.zeros((2, 8))}, {}),
        "weights along another axis": ({"x": samples((3, 4)), "d": samples((3, 4)), "w0": np.zeros((8, 4))}, {}),
        "weights of integers": ({"x": x, "d": x, "w0": np.zeros(8, np.int64)}, {}),
    }
    cases = [refused(name, frame(tensors, params), "invalid_shape") for name, (tensors, params) in shapes.items()]
    texts = (
        *('{"method":"apa"}', '{"method":""}', '{"method":null}', '{"order":0}', '{"order":513}', '{"order":1.5}'),
        *('{"order":"8"}', '{"mu":-0.1}', '{"mu":1e7}', '{"mu":"1"}', '{"mu":NaN}', '{"method":"nlms","mu":2}'),
        *('{"method":"nlms","mu":2.5}', '{"method":"rls","mu":0.1}', '{"eps":1}', '{"method":"nlms","eps":0}'),
        *('{"method":"nlms","eps":1e13}', '{"method":"rls","eps":1}', '{"lam":0.9}', '{"method":"nlms","lam":0.9}'),
        *('{"method":"rls","lam":0}', '{"method":"rls","lam":1.01}', '{"method":"rls","lam":"1"}', '{"delta":1}'),
        *('{"method":"nlms","delta":1}', '{"method":"rls","delta":0}', '{"method":"rls","delta":1e10}'),
        *('{"axis":1}', '{"axis":-2}', '{"axis":0.5}', '{"taps":4}', '{"step_size":0.1}'),
    )
    signals = {"x": x, "d": samples(4, seed=9)}
    cases += [refused(f"parameters {text}", parameters_frame(text, signals), "invalid_parameter") for text in texts]
    loud = {"x": samples((2, 400)), "d": samples((2, 400), seed=9)}
    cases.append(refused("lms that diverges", frame(loud, {"mu": 1e6}), "invalid_parameter"))
    silent = {"x": np.concatenate([x, np.zeros(400)]), "d": np.ones(404)}
    content = frame(silent, {"method": "rls", "lam": 0.01, "order": 2})
    cases.append(refused("rls whose memory fades", content, "invalid_parameter"))
    huge = {"x": samples(9) * 1e200, "d": samples(9, seed=9)}
    cases.append(refused("lms of huge samples", frame(huge, {}), "invalid_parameter"))
    cases.append(refused("a truncated frame", frame(signals)[:-1], "invalid_frame"))
    return cases
