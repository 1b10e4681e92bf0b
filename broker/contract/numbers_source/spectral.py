"""Golden numbers of `spectral`, by SciPy, computed in double precision and then rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame
from scipy import signal

from numbers_source.common import answer, parameters_frame, refused, samples
from numbers_source.stft import exact, segment_refusals, shape_refusals, window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "complex64": 1e-5, "complex128": 1e-12}
METHODS = ("periodogram", "welch", "spectrogram", "csd", "coherence")
PAIRS = ("csd", "coherence")
OWN = ("method", "window", "beta", "std", "alpha", "detrend", "return_onesided", "axis")


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def _case(name: str, x: NDArray[Any], *, y: NDArray[Any] | None = None, **params: Any) -> Json:
    method = params.get("method", "welch")
    settings = {key: value for key, value in params.items() if key not in OWN}
    settings["axis"] = params.get("axis", -1)
    if method != "periodogram":
        settings.setdefault("nperseg", min(256, x.shape[settings["axis"]]))
    usual = {"periodogram": "boxcar", "spectrogram": ("tukey", 0.25)}.get(method, "hann")
    settings["window"] = window_of(params, usual)
    settings["detrend"] = False if params.get("detrend") == "none" else params.get("detrend", "constant")
    if method != "coherence":
        settings["return_onesided"] = params.get("return_onesided", x.dtype.kind != "c")
    elif "scaling" in settings:
        del settings["scaling"]
    signals = [exact(x)] if y is None else [exact(x), exact(y)]
    with np.errstate(all="ignore"):
        f, *times, power = getattr(signal, method)(*signals, **settings)
    single = x.dtype.name in ("float32", "complex64")
    kinds = ("complex64", "complex128") if method == "csd" else ("float32", "float64")
    expected = {"f": f, "Pxx": power.astype(kinds[0] if single else kinds[1])} | ({"t": times[0]} if times else {})
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    return answer(name, tensors, params, expected, TOLERANCE[x.dtype.name])


def _both(shape: tuple[int, ...] | int, method: str, dtype: str = "float64") -> Json:
    """The signals that a method takes."""
    pair = {"x": samples(shape, dtype)}
    return pair | ({"y": samples(shape, dtype, seed=7)} if method in PAIRS else {})


def answers() -> list[Json]:
    cases = []
    for method in METHODS:
        cases += [_case(f"{method} of {n}", **_both(n, method), method=method) for n in (2, 5, 16, 300)]
        for dtype in ("float32", "complex64", "complex128"):
            cases.append(_case(f"{method} of {dtype}", **_both(21, dtype=dtype, method=method), method=method))
        for detrend in ("none", "constant", "linear"):
            cases.append(_case(f"{method}, detrend {detrend}", **_both(40, method), method=method, detrend=detrend))
        for scaling in ("density", "spectrum"):
            name = f"{method}, {scaling}"
            cases.append(_case(name, **_both(20, method), method=method, scaling=scaling, fs=44100.0))
        cases += [_case(f"{method}, nfft {n}", **_both(12, method), method=method, nfft=n) for n in (12, 13, 32)]
        for axis in (0, 1, -1):
            name = f"{method}, axis {axis}"
            cases.append(_case(name, **_both((6, 5, 4), method), method=method, axis=axis))
        name = f"{method} of many lines along the first axis"
        cases.append(_case(name, **_both((6, 20), method, "float32"), method=method, axis=0))
        cases.append(_case(f"{method}, kaiser", **_both(16, method), method=method, window="kaiser", beta=4.0))
        cases.append(_case(f"{method}, tukey", **_both(16, method), method=method, window="tukey"))
        if method != "periodogram":
            for nperseg, noverlap, nfft in ((2, 0, 2), (3, 2, 3), (8, 7, 8), (8, 0, 9), (9, 4, 16)):
                name = f"{method}, nperseg {nperseg}, noverlap {noverlap}, nfft {nfft}"
                params = {"nperseg": nperseg, "noverlap": noverlap, "nfft": nfft, "detrend": "none"}
                cases.append(_case(name, **_both(23, method), method=method, window="boxcar", **params))
        if method != "coherence":
            name = f"{method}, two-sided"
            cases.append(_case(name, **_both(18, method), method=method, return_onesided=False, fs=8))
            cases.append(_case(f"{method} of 1", **_both(1, method), method=method, detrend="none"))
    for method in ("welch", "csd"):
        for average in ("mean", "median"):
            for n in (8, 11, 14, 40):
                name = f"{method}, {average} of {n} samples"
                cases.append(_case(name, **_both(n, method), method=method, average=average, nperseg=8))
        two = _both((3, 30), method, "complex64")
        cases.append(_case(f"{method}, median of complex64", **two, method=method, average="median", nperseg=6))
        gap = _both((2, 24), method)
        gap["x"][1, 20] = np.nan
        for average in ("mean", "median"):
            name = f"{method}, {average} with NaN in one line of two"
            cases.append(_case(name, **gap, method=method, average=average, nperseg=6))
    cases += [_case(f"periodogram cropped to {n}", samples(12), method="periodogram", nfft=n) for n in (2, 7, 11)]
    gap = samples(30)
    gap[12] = np.nan
    cases.append(_case("spectrogram with NaN in some segments", gap, method="spectrogram", nperseg=6))
    cases.append(_case("coherence with itself", samples(64), y=samples(64), method="coherence", nperseg=8))
    cases.append(_case("coherence of zeros", np.zeros(16), y=samples(16), method="coherence", nperseg=8))
    cases.append(_case("zeros", np.zeros(16), nperseg=8))
    cases.append(_case("a constant", np.full(16, 2.5), nperseg=8))
    cases.append(_case("a constant as it is", np.full(16, 2.5), nperseg=8, detrend="none"))
    cases.append(_case("huge", samples(16) * 1e150, nperseg=8))
    cases.append(_case("huge floats", (samples(16) * 1e17).astype(np.float32), nperseg=8))
    cases.append(_case("tiny", samples(16) * 1e-150, nperseg=8))
    cases += [_case(f"fs {fs}", samples(9), nperseg=4, fs=fs) for fs in (1e-12, 0.5, 1e18)]
    for window in ("boxcar", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "triang"):
        cases.append(_case(f"window {window}", samples(20), nperseg=7, window=window))
    cases.append(_case("window cosine", samples(20), nperseg=7, window="cosine"))
    cases.append(_case("window gaussian", samples(20), nperseg=7, window="gaussian", std=1.5))
    cases.append(_case("window tukey with alpha", samples(20), nperseg=7, window="tukey", alpha=0.75))
    empty = {"f": np.fft.rfftfreq(4), "Pxx": np.zeros((0, 3))}
    cases.append(answer("no lines", {"x": np.zeros((0, 8))}, {"nperseg": 4}, empty, 1e-12))
    empty = {"f": np.fft.rfftfreq(4), "Pxx": np.zeros((3, 0, 2)), "t": np.array([2.0, 6.0])}
    params = {"nperseg": 4, "method": "spectrogram", "axis": 0}
    cases.append(answer("a spectrogram of no lines", {"x": np.zeros((8, 0))}, params, empty, 1e-12))
    return cases


def refusals() -> list[Json]:
    x = samples(8)
    shapes = shape_refusals() | {"a second signal that welch does not take": {"x": x, "y": x}}
    cases = [refused(name, frame(arrays), "invalid_shape") for name, arrays in shapes.items()]
    content = frame({"x": np.zeros((1,) * 8, "float32")}, {"method": "spectrogram"})
    cases.append(refused("a spectrogram of 8 dimensions", content, "invalid_shape"))
    for method in PAIRS:
        cases.append(refused(f"{method} of one signal", frame({"x": x}, {"method": method}), "invalid_shape"))
        for name, y in (("shape", samples(9)), ("dtype", x.astype("float32")), ("rank", samples((1, 8)))):
            content = frame({"x": x, "y": y}, {"method": method})
            cases.append(refused(f"{method}, y of another {name}", content, "invalid_shape"))
    own = ['{"method":"multitaper"}', '{"method":null}', '{"average":"max"}', '{"scaling":"psd"}', '{"y":1}']
    own += [f'{{"method":"periodogram","{name}":4}}' for name in ("nperseg", "noverlap")]
    own += [f'{{"method":"{method}","average":"mean"}}' for method in ("periodogram", "spectrogram")]
    own += ['{"method":"periodogram","nfft":0}', '{"method":"periodogram","beta":5}']
    for text in (*segment_refusals(), *own):
        cases += [refused(f"parameters {text}", parameters_frame(text, {"x": x}), "invalid_parameter")]
    content = frame({"x": x, "y": x}, {"method": "coherence", "average": "mean"})
    cases.append(refused("an averaged coherence", content, "invalid_parameter"))
    for method in METHODS:
        content = frame(_both(4, method, "complex64"), {"method": method, "return_onesided": True})
        cases.append(refused(f"one-sided {method} of complex64", content, "invalid_parameter"))
    content = frame({"x": np.zeros(300, np.float32)}, {"nperseg": 1, "nfft": 16777216, "method": "spectrogram"})
    cases.append(refused("a spectrogram of 9 GiB from 1 KiB", content, "payload_too_large"))
    content = frame({"x": np.zeros(300, np.float32)}, {"nperseg": 1, "nfft": 16777216, "average": "median"})
    cases.append(refused("a median of 18 GiB from 1 KiB", content, "payload_too_large"))
    cases.append(refused("a truncated frame", frame({"x": x})[:-1], "invalid_frame"))
    return cases
