"""Golden numbers of `window`, by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from frames_source import frame
from scipy import signal

from numbers_source.common import answer, parameters_frame, refused

Json = dict[str, Any]
TOLERANCE = 1e-13
SHAPES = {"kaiser": "beta", "gaussian": "std", "tukey": "alpha"}
PLAIN = (
    "boxcar",
    "hann",
    "hamming",
    "blackman",
    "blackmanharris",
    "bartlett",
    "flattop",
    "nuttall",
    "triang",
    "cosine",
)


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def _case(name: str, n: int, **params: Any) -> Json:
    window = params.get("window", "hann")
    if window in SHAPES:
        window = (window, params.get(SHAPES[window], 0.5))
    y = signal.get_window(window, int(n), params.get("fftbins", True))
    return answer(name, {}, {"n": n, **params}, {"y": y}, TOLERANCE)


def answers() -> list[Json]:
    cases = [_case(f"{n} of what is usual", n) for n in (1, 2, 3, 4, 5, 8, 9, 64, 101)]
    for window in PLAIN:
        for fftbins, kind, sizes in ((False, "symmetric", (1, 2, 3, 4, 7, 8)), (True, "periodic", (1, 2, 6, 9))):
            cases += [_case(f"{n} of {window}, {kind}", n, window=window, fftbins=fftbins) for n in sizes]
    shaped = [("kaiser", beta) for beta in (0, 1e-9, 0.5, 5.0, 14, 39.9, 40.1, 80.0, 500)]
    shaped += [("gaussian", std) for std in (0.001, 0.3, 1, 7.5, 1e9)]
    shaped += [("tukey", alpha) for alpha in (0, 1e-6, 0.1, 0.25, 0.5, 0.999, 1)]
    for window, value in shaped:
        for n in (1, 2, 5, 12):
            for fftbins in (True, False):
                params = {"window": window, SHAPES[window]: value, "fftbins": fftbins}
                cases.append(_case(f"{n} of {window} {value}, {'periodic' if fftbins else 'symmetric'}", n, **params))
    cases.append(_case("tukey as it comes", 20, window="tukey"))
    cases.append(_case("a whole number written as a float", 8.0, window="hamming"))
    return cases


def refusals() -> list[Json]:
    cases = []
    for text in (
        *("{}", '{"window":"hann"}', '{"n":0}', '{"n":-1}', '{"n":16777217}', '{"n":1.5}', '{"n":"8"}', '{"n":null}'),
        *('{"n":true}', '{"n":[8]}', '{"n":8,"window":"Hann"}', '{"n":8,"window":""}', '{"n":8,"window":"bohman"}'),
        *('{"n":8,"window":null}', '{"n":8,"window":["kaiser",5]}', '{"n":8,"fftbins":1}', '{"n":8,"fftbins":"yes"}'),
        *('{"n":8,"window":"kaiser"}', '{"n":8,"window":"gaussian"}', '{"n":8,"beta":5}', '{"n":8,"std":1}'),
        *('{"n":8,"alpha":0.5}', '{"n":8,"window":"tukey","beta":5}', '{"n":8,"window":"kaiser","std":1}'),
        *('{"n":8,"window":"kaiser","beta":-1}', '{"n":8,"window":"kaiser","beta":501}', '{"n":8,"sym":true}'),
        *('{"n":8,"window":"kaiser","beta":NaN}', '{"n":8,"window":"kaiser","beta":"5"}'),
        *('{"n":8,"window":"gaussian","std":0}', '{"n":8,"window":"gaussian","std":1e10}'),
        *('{"n":8,"window":"tukey","alpha":-0.1}', '{"n":8,"window":"tukey","alpha":1.1}'),
    ):
        cases += [refused(f"parameters {text}", parameters_frame(text, {}), "invalid_parameter")]
    cases.append(refused("a tensor that nobody asked for", frame({"x": np.ones(4)}, {"n": 4}), "invalid_shape"))
    cases.append(refused("a truncated frame", frame({}, {"n": 4})[:-1], "invalid_frame"))
    return cases
