"""Golden numbers of `resample`, by SciPy, computed in double precision and then rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame
from scipy import signal

from numbers_source.common import answer, parameters_frame, refused, samples
from numbers_source.stft import window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}
PADTYPES = ("constant", "line", "mean", "median", "maximum", "minimum", "edge", "symmetric", "reflect", "wrap")


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def _case(name: str, x: NDArray[Any], **params: Any) -> Json:
    exact, axis = x.astype(np.float64), params.get("axis", -1)
    up, down = params.get("up", 1), params.get("down", 1)
    if params.get("method") == "polyphase":
        window = window_of(params, ("kaiser", 5.0))
        padtype = params.get("padtype", "constant")
        y = signal.resample_poly(exact, up, down, axis=axis, window=window, padtype=padtype)
    else:
        num = params.get("num", -(-x.shape[axis] * up // down))
        y = signal.resample(exact, int(num), axis=axis, window=window_of(params, None))
    return answer(name, {"x": x}, params, {"y": y.astype(x.dtype)}, TOLERANCE[x.dtype.name])


def answers() -> list[Json]:
    cases = [_case("as it is", samples(9))]
    for n in (1, 2, 3, 4, 7, 8, 16):
        cases += [_case(f"{n} samples as {num}", samples(n), num=num) for num in (1, 2, 3, 5, 8, 9, 16, 21)]
    rates = ((1, 1), (2, 1), (1, 2), (3, 2), (2, 3), (4, 6), (5, 7), (1, 9), (11, 1), (160, 147))
    poly = {"method": "polyphase"}
    for up, down in rates:
        cases.append(_case(f"fourier, {up} / {down}", samples(13), up=up, down=down))
        for n in (1, 2, 13, 40):
            cases.append(_case(f"polyphase, {n} samples, {up} / {down}", samples(n), up=up, down=down, **poly))
    plain = ("boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "triang")
    shaped = [{"window": window} for window in (*plain, "cosine", "tukey")]
    shaped += [{"window": "kaiser", "beta": 8.0}, {"window": "gaussian", "std": 4}, {"window": "tukey", "alpha": 0.2}]
    for window in shaped:
        name = " ".join(map(str, window.values()))
        cases.append(_case(f"polyphase, {name}", samples(15), up=3, down=2, **poly, **window))
        cases += [_case(f"fourier, {n} samples, {name}", samples(n), num=12, **window) for n in (7, 8, 17, 20)]
    for padtype in PADTYPES:
        for up, down in ((3, 1), (1, 3), (4, 3)):
            name = f"padtype {padtype}, {up} / {down}"
            cases.append(_case(name, samples(14) + 2, up=up, down=down, padtype=padtype, **poly))
            short = samples(2) + 2
            cases.append(_case(f"{name}, two samples", short, up=up, down=down, padtype=padtype, **poly))
        if padtype not in ("line", "reflect"):
            cases.append(_case(f"padtype {padtype}, one sample", samples(1), up=2, padtype=padtype, **poly))
        cases.append(_case(f"padtype {padtype}, as it is", samples(5), up=3, down=3, padtype=padtype, **poly))
    for method in ("fourier", "polyphase"):
        which = {"method": method, "up": 3, "down": 2}
        cases.append(_case(f"{method} of floats", samples(20, "float32"), **which))
        cases.append(_case(f"{method}, a batch", samples((3, 2, 9)), **which))
        cases += [_case(f"{method}, axis {axis}", samples((4, 5, 3)), axis=axis, **which) for axis in (0, 1, -3)]
        cases.append(_case(f"{method}, many lines along the first axis", samples((5, 20), "float32"), axis=0, **which))
        empty = {"y": np.zeros((0, 6))}
        cases.append(answer(f"{method}, no lines", {"x": np.zeros((0, 4))}, which, empty, 1e-12))
        cases.append(_case(f"{method} of a constant", np.full(10, 2.5), **which))
        cases.append(_case(f"{method} of zeros", np.zeros(10), **which))
        cases.append(_case(f"{method}, denormal", samples(10) * 1e-310, **which))
        cases.append(_case(f"{method}, huge", samples(10) * 1e300, **which))
        lines = samples((3, 60))
        lines[1, 30] = np.nan
        cases.append(_case(f"{method}, NaN in one line of three", lines, **which))
    for at in (0, 39):
        line = samples(40)
        line[at] = np.nan
        for up, down in ((3, 1), (1, 3), (2, 3)):
            cases.append(_case(f"NaN at {at}, {up} / {down}", line, up=up, down=down, **poly))
    for padtype in ("mean", "median", "maximum", "minimum"):
        cases.append(_case(f"NaN and padtype {padtype}", line, up=2, padtype=padtype, **poly))
    cases.append(_case("a rate that leaves one sample", samples(5), down=65536, **poly))
    return cases


def refusals() -> list[Json]:
    x = samples(8)
    shapes = {f"dtype {dtype}": {"x": np.ones(8, dtype)} for dtype in ("bool", "int64", "float16", "complex64")}
    shapes |= {"0-d": {"x": np.array(1.0)}, "no tensor": {}, "another name": {"y": x}, "one too many": {"x": x, "y": x}}
    shapes |= {"no samples": {"x": np.zeros(0)}, "no samples in a batch": {"x": np.zeros((3, 0))}}
    cases = [refused(name, frame(arrays), "invalid_shape") for name, arrays in shapes.items()]
    for padtype in ("line", "reflect"):
        content = frame({"x": np.ones(1)}, {"method": "polyphase", "padtype": padtype, "up": 2})
        cases.append(refused(f"one sample with padtype {padtype}", content, "invalid_shape"))
    for text in (
        *('{"num":0}', '{"num":-1}', '{"num":16777217}', '{"num":1.5}', '{"num":"8"}', '{"num":null}', '{"num":true}'),
        *('{"up":0}', '{"up":65537}', '{"up":1.5}', '{"down":0}', '{"down":65537}', '{"down":"2"}', '{"axis":1}'),
        *('{"axis":-2}', '{"axis":0.5}', '{"method":"poly"}', '{"method":null}', '{"padtype":"mean"}'),
        *('{"method":"polyphase","num":4}', '{"method":"polyphase","padtype":"smooth"}', '{"window":"kaiser"}'),
        *('{"method":"polyphase","window":"gaussian"}', '{"beta":5}', '{"method":"polyphase","beta":5}'),
        *('{"std":1}', '{"alpha":0.5}', '{"window":"tukey","alpha":2}', '{"window":"sinc"}', '{"t":1}', '{"":1}'),
    ):
        cases += [refused(f"parameters {text}", parameters_frame(text, {"x": x}), "invalid_parameter")]
    content = frame({"x": np.zeros((4096, 1), np.float32)}, {"num": 16777216})
    cases.append(refused("samples of 256 GiB from 16 KiB", content, "payload_too_large"))
    content = frame({"x": np.zeros((2, 8192), np.float32)}, {"up": 65536, "method": "polyphase"})
    cases.append(refused("samples of 4 GiB from 64 KiB", content, "payload_too_large"))
    cases.append(refused("a truncated frame", frame({"x": x})[:-1], "invalid_frame"))
    return cases
