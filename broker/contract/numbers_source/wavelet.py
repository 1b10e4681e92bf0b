"""Golden numbers of `wavelet`, by PyWavelets, in double precision and then rounded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pywt
from frames_source import frame
from scipy.stats import norm
from wavelets_source import names

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
MODES = (
    *("symmetric", "reflect", "periodic", "periodization", "zero", "constant", "smooth"),
    *("antisymmetric", "antireflect"),
)


def cases() -> list[Json]:
    return [*decompositions(), *reconstructions(), *denoised(), *refusals()]


def _settings(params: Json) -> tuple[str, str, int]:
    return params.get("wavelet", "db4"), params.get("mode", "symmetric"), int(params.get("axis", -1))


def _named(coefficients: list[NDArray[Any]], dtype: Any) -> dict[str, NDArray[Any]]:
    level = len(coefficients) - 1
    keys = [f"cA{level}", *(f"cD{each}" for each in range(level, 0, -1))]
    return {key: np.asarray(array, dtype) for key, array in zip(keys, coefficients, strict=True)}


def _decomposed(name: str, x: NDArray[Any], **params: Any) -> Json:
    wavelet, mode, axis = _settings(params)
    level = None if "level" not in params else int(params["level"])
    coefficients = pywt.wavedec(x.astype(np.float64), wavelet, mode, level, axis)
    return answer(name, {"x": x}, params, _named(coefficients, x.dtype), TOLERANCE[x.dtype.name])


def _reconstructed(name: str, coefficients: list[NDArray[Any]], **params: Any) -> Json:
    wavelet, mode, axis = _settings(params)
    dtype = coefficients[0].dtype
    y = pywt.waverec([each.astype(np.float64) for each in coefficients], wavelet, mode, axis)
    params["method"] = "reconstruct"
    return answer(name, _named(coefficients, dtype), params, {"y": y.astype(dtype)}, TOLERANCE[dtype.name])


def _denoised(name: str, x: NDArray[Any], **params: Any) -> Json:
    wavelet, mode, axis = _settings(params)
    approximation, *details = pywt.wavedec(x.astype(np.float64), wavelet, mode, params.get("level"), axis)
    count, value = x.shape[axis], params.get("threshold")
    if value is None:
        deviation = np.median(np.abs(details[-1]), axis, keepdims=True) / norm.ppf(0.75)
        value = deviation * math.sqrt(2 * math.log(count))
    with np.errstate(all="ignore"):
        kept = [pywt.threshold(each, value, params.get("threshold_mode", "soft")) for each in details]
    y = np.take(pywt.waverec([approximation, *kept], wavelet, mode, axis), range(count), axis)
    params["method"] = "denoise"
    return answer(name, {"x": x}, params, {"y": y.astype(x.dtype)}, 5 * TOLERANCE[x.dtype.name])


def decompositions() -> list[Json]:
    cases = []
    for wavelet in names():
        cases.append(_decomposed(f"{wavelet}, 51 doubles", samples(51), wavelet=wavelet))
        cases.append(_decomposed(f"{wavelet}, 40 floats", samples(40, "float32"), wavelet=wavelet))
    for mode in MODES:
        for wavelet, count in (("haar", 2), ("haar", 13), ("db2", 6), ("db4", 29), ("db8", 30), ("coif3", 35)):
            cases.append(_decomposed(f"{mode} {wavelet} {count}", samples(count), wavelet=wavelet, mode=mode))
        cases.append(_decomposed(f"{mode}, floats", samples(21, "float32"), wavelet="sym3", mode=mode))
    for count in (1, 2, 3, 5, 7, 8, 13):
        cases.append(_decomposed(f"{count} samples", samples(count)))
        cases.append(_decomposed(f"{count} samples, haar", samples(count, "float32"), wavelet="haar"))
    cases += [_decomposed(f"level {level}", samples(30), level=level) for level in (0, 1, 2)]
    cases.append(_decomposed("a whole number written as a float", samples(16), wavelet="db2", level=2.0, axis=-1.0))
    cube = samples((3, 16, 5))
    cases += [_decomposed(f"axis {axis} of 3", cube, wavelet="haar", axis=axis) for axis in (-3, -2, -1, 0, 1, 2)]
    cases.append(_decomposed("axis 1 of 3, floats", cube.astype(np.float32), wavelet="db2", mode="reflect", axis=1))
    eight = samples((1, 2, 1, 4, 1, 2, 1, 2), "float32")
    cases += [_decomposed(f"axis {axis} of 8", eight, wavelet="haar", axis=axis) for axis in (-8, -5, 3, 7)]
    cases.append(_decomposed("many lines along the first axis", samples((9, 40), "float32"), wavelet="db2", axis=0))
    cases.append(_decomposed("no lines", np.zeros((0, 8), np.float32), wavelet="haar"))
    cases.append(_decomposed("no lines behind the axis", np.zeros((4, 0)), wavelet="haar", axis=0))
    # Longer filters leave rounding of nothing, on which no two engines agree.
    cases.append(_decomposed("a constant", np.full(32, 2.5), wavelet="haar"))
    cases.append(_decomposed("zeros", np.zeros(17)))
    cases.append(_decomposed("an impulse", np.eye(1, 40, 20)[0], wavelet="sym5"))
    cases.append(_decomposed("denormal doubles", samples(16) * 1e-310, wavelet="db2"))
    cases.append(_decomposed("denormal floats", (samples(16) * 1e-40).astype(np.float32), wavelet="db2"))
    cases.append(_decomposed("huge doubles", samples(16) * 1e306, wavelet="db2"))
    cases.append(_decomposed("huge floats", (samples(16) * 1e37).astype(np.float32), wavelet="db2"))
    lines = samples((3, 40))
    lines[1, 20] = np.nan
    cases.append(_decomposed("NaN in one line of three", lines, wavelet="db2", level=2))
    lines = samples((2, 24), "float32")
    lines[0, 0] = np.nan
    cases.append(_decomposed("NaN in front", lines, wavelet="haar"))
    return cases


def reconstructions() -> list[Json]:
    cases = []
    for wavelet in names():
        for dtype in ("float32", "float64"):
            coefficients = [each.astype(dtype) for each in pywt.wavedec(samples(47), wavelet)]
            cases.append(_reconstructed(f"back from {dtype} {wavelet}", coefficients, wavelet=wavelet))
    for mode in MODES:
        for wavelet, count in (("haar", 3), ("db3", 43), ("coif1", 50)):
            coefficients = pywt.wavedec(samples(count), wavelet, mode)
            cases.append(_reconstructed(f"back in {mode} {wavelet} {count}", coefficients, wavelet=wavelet, mode=mode))
    # Shorter than a filter, which decomposition does not give.
    for count in (1, 2, 3, 5):
        made = [samples(count), samples(count, seed=2)]
        cases.append(_reconstructed(f"{count} wrapped", made, wavelet="db5", mode="periodization"))
    cases.append(_reconstructed("the fewest for db5", [samples(5), samples(5, seed=2)], wavelet="db5"))
    cases.append(_reconstructed("an approximation alone", [samples(9)]))
    cube = samples((3, 16, 5))
    for axis in (-3, -2, -1, 0, 1, 2):
        coefficients = pywt.wavedec(cube, "haar", axis=axis)
        cases.append(_reconstructed(f"back along axis {axis} of 3", coefficients, wavelet="haar", axis=axis))
    coefficients = pywt.wavedec(samples((40, 20)).astype(np.float32), "db2", axis=0)
    cases.append(_reconstructed("back with many lines along the first axis", coefficients, wavelet="db2", axis=0))
    cases.append(_reconstructed("back with no lines", [np.zeros((0, 4)), np.zeros((0, 4))], wavelet="haar"))
    deep = [samples(1), *(np.zeros(2**level) for level in range(10))]
    cases.append(_reconstructed("ten levels from one coefficient", deep, wavelet="haar"))
    broken = pywt.wavedec(samples((2, 24)), "db2")
    broken[1][0, 1] = np.nan
    cases.append(_reconstructed("back with NaN", broken, wavelet="db2"))
    return cases


def denoised() -> list[Json]:
    cases = []
    noisy = np.repeat([0.0, 4.0, -1.0, 2.0], 17) + 0.25 * samples(68)
    for kind in ("soft", "hard", "garrote"):
        for dtype in ("float32", "float64"):
            x = noisy.astype(dtype)
            cases.append(_denoised(f"universal threshold, {kind}, {dtype}", x, threshold_mode=kind))
            cases.append(_denoised(f"threshold 0.3, {kind}, {dtype}", x, threshold_mode=kind, threshold=0.3))
        cases.append(_denoised(f"everything taken, {kind}", noisy[:40], threshold_mode=kind, threshold=1e6))
    cases.append(_denoised("nothing taken", noisy[:40], threshold=0))
    cases.append(_denoised("the largest threshold", noisy[:40], threshold=1e38))
    cases += [_denoised(f"denoised in {mode}", noisy[:51], wavelet="sym4", mode=mode) for mode in MODES]
    cases += [_denoised(f"denoised by {wavelet}", noisy, wavelet=wavelet) for wavelet in ("haar", "db8", "coif2")]
    batch = np.stack([noisy, 10.0 * noisy, -0.1 * noisy])
    cases.append(_denoised("a threshold for each line", batch[:, :33], wavelet="db2"))
    cases.append(_denoised("along the first axis", batch.T[:33], wavelet="db2", axis=0))
    cases.append(_denoised("one level", noisy, level=1))
    cases.append(_denoised("the shortest", samples(2), wavelet="haar"))
    cases.append(_denoised("an odd number of details", samples(5), wavelet="haar", level=1))
    cases.append(_denoised("no lines to denoise", np.zeros((0, 8)), wavelet="haar"))
    cases.append(_denoised("huge", 1e300 * noisy[:32], wavelet="db2"))
    lines = batch[:, :40].copy()
    lines[1, 7] = np.nan
    cases.append(_denoised("NaN in one line", lines, wavelet="db2"))
    return cases


def refusals() -> list[Json]:
    x = samples(16)
    back = {"method": "reconstruct", "wavelet": "haar"}
    a, d = samples(4), samples(4, seed=2)
    shapes: dict[str, tuple[dict[str, NDArray[Any]], Json]] = {
        f"dtype {dtype}": ({"x": np.ones(4, dtype)}, {})
        for dtype in ("bool", "int64", "float16", "complex64", "complex128")
    }
    shapes |= {
        "0-d": ({"x": np.array(1.0)}, {}),
        "no tensor": ({}, {}),
        "another name": ({"y": x}, {}),
        "no samples": ({"x": np.zeros((3, 0))}, {}),
        "coefficients to decompose": ({"cA1": a, "cD1": d}, {}),
        "coefficients beside samples": ({"x": x, "cD1": d}, {}),
        "too short to denoise": ({"x": samples(13)}, {"method": "denoise"}),
        "samples to reconstruct": ({"x": x}, back),
        "samples beside coefficients": ({"x": x, "cA1": a, "cD1": d}, back),
        "nothing to reconstruct": ({}, back),
        "details alone": ({"cD1": d}, back),
        "two approximations": ({"cA1": a, "cA0": a, "cD1": d}, back),
        "a level missing": ({"cA2": a, "cD2": d}, back),
        "a level too many": ({"cA1": a, "cD1": d, "cD2": d}, back),
        "a leading zero": ({"cA01": a, "cD1": d}, back),
        "no number": ({"cA": a, "cD1": d}, back),
        "a sign": ({"cA1": a, "cD+1": d}, back),
        "another word behind the number": ({"cA1": a, "cD1x": d}, back),
        "other digits": ({"cA1": a, "cD\u0661": d}, back),
        "another dtype": ({"cA1": a, "cD1": d.astype(np.float32)}, back),
        "another rank": ({"cA1": a, "cD1": d.reshape(1, 4)}, back),
        "another number of lines": ({"cA1": samples((2, 4)), "cD1": samples((3, 4))}, back),
        "two details too few": ({"cA1": a, "cD1": d[:2]}, back),
        "a detail too many": ({"cA1": a, "cD1": samples(5)}, back),
        "no coefficients": ({"cA1": np.zeros(0), "cD1": np.zeros(0)}, back),
        "one detail taken from one": ({"cA1": np.ones(1), "cD1": np.zeros(0)}, back),
        "too few for the filter": ({"cA1": a[:3], "cD1": d[:3]}, back | {"wavelet": "db4"}),
    }
    cases = [refused(name, frame(arrays, params), "invalid_shape") for name, (arrays, params) in shapes.items()]
    texts = (
        *('{"method":"inverse"}', '{"method":1}', '{"wavelet":"db9"}', '{"wavelet":"Haar"}', '{"wavelet":""}'),
        *('{"wavelet":"bior2.2"}', '{"wavelet":null}', '{"mode":"per"}', '{"mode":null}', '{"level":-1}'),
        *('{"level":31}', '{"level":1.5}', '{"level":"1"}', '{"level":2}', '{"level":5,"wavelet":"haar"}'),
        *('{"level":true}', '{"axis":1}', '{"axis":-2}', '{"axis":9}', '{"axis":null}', '{"threshold":0.5}'),
        *('{"method":"denoise","threshold":-1e-9}', '{"method":"denoise","threshold":1.1e38}'),
        *('{"method":"denoise","threshold":"1"}', '{"method":"denoise","threshold":NaN}'),
        *('{"method":"denoise","threshold_mode":"firm"}', '{"method":"denoise","level":0}'),
        *('{"method":"denoise","level":2}', '{"threshold_mode":1}', '{"n":4}'),
    )
    cases += [refused(f"parameters {text}", parameters_frame(text, {"x": x}), "invalid_parameter") for text in texts]
    for text in ('{"method":"reconstruct","level":1}', '{"method":"reconstruct","threshold":1}'):
        content = parameters_frame(text, {"cA1": a, "cD1": d})
        cases.append(refused(f"parameters {text}", content, "invalid_parameter"))
    content = frame({"cA1": samples((2, 4)), "cD1": samples((2, 4))}, back | {"axis": 2})
    cases.append(refused("an axis that coefficients lack", content, "invalid_parameter"))
    cases.append(refused("a truncated frame", frame({"x": x})[:-1], "invalid_frame"))
    return cases
