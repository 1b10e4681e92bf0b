"""Golden numbers of `stft`, by SciPy, computed in double precision and then rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame
from scipy import signal

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float32": 5e-6, "float64": 1e-12, "complex64": 5e-6, "complex128": 1e-12}
SHAPES = {"kaiser": "beta", "gaussian": "std", "tukey": "alpha"}
OWN = ("window", "beta", "std", "alpha", "boundary", "detrend", "return_onesided", "axis")


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def window_of(params: Json, usual: Any = "hann") -> Any:
    """The window that a request's parameters name, as SciPy takes it."""
    name = params.get("window")
    if name is None:
        return usual
    return (name, params.get(SHAPES[name], 0.5)) if name in SHAPES else name


def exact(x: NDArray[Any]) -> NDArray[Any]:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def _case(name: str, x: NDArray[Any], **params: Any) -> Json:
    settings = {key: value for key, value in params.items() if key not in OWN}
    settings.setdefault("nperseg", min(256, x.shape[params.get("axis", -1)]))
    f, t, spectra = signal.stft(
        exact(x),
        window=window_of(params),
        boundary=None if params.get("boundary") == "none" else params.get("boundary", "zeros"),
        detrend=False if params.get("detrend", "none") == "none" else params["detrend"],
        return_onesided=params.get("return_onesided", x.dtype.kind != "c"),
        axis=params.get("axis", -1),
        **settings,
    )
    spectra = spectra.astype("complex64" if x.dtype.name in ("float32", "complex64") else "complex128")
    return answer(name, {"x": x}, params, {"f": f, "t": t, "Zxx": spectra}, TOLERANCE[x.dtype.name])


def answers() -> list[Json]:
    x = samples(40)
    cases = [_case(f"{n} samples as they come", samples(n)) for n in (1, 2, 3, 4, 5, 9, 16, 31)]
    cases.append(_case("more samples than a usual segment", samples(300)))
    for dtype in ("float32", "float64", "complex64", "complex128"):
        cases.append(_case(f"{dtype}", samples(20, dtype), nperseg=8))
        cases.append(_case(f"{dtype}, odd segments, detrended", samples(21, dtype), nperseg=7, detrend="linear"))
        cases.append(_case(f"{dtype}, two-sided", samples(12, dtype), nperseg=5, return_onesided=False))
    for boundary in ("zeros", "even", "odd", "constant", "none"):
        for padded in (True, False):
            for nperseg in (8, 9):
                name = f"boundary {boundary}, {'padded' if padded else 'not padded'}, segments of {nperseg}"
                cases.append(_case(name, samples(22), nperseg=nperseg, noverlap=5, boundary=boundary, padded=padded))
        cases.append(_case(f"boundary {boundary}, one sample", samples(1), boundary=boundary))
        cases.append(_case(f"boundary {boundary}, a segment as long as x", samples(6), nperseg=6, boundary=boundary))
        cases.append(_case(f"boundary {boundary}, complex", samples(9, "complex128"), nperseg=4, boundary=boundary))
    for nperseg, noverlap, nfft in ((1, 0, 1), (1, 0, 4), (2, 1, 2), (3, 0, 3), (8, 7, 8), (8, 0, 16), (8, 3, 9)):
        name = f"nperseg {nperseg}, noverlap {noverlap}, nfft {nfft}"
        cases.append(_case(name, samples(17), nperseg=nperseg, noverlap=noverlap, nfft=nfft))
    plain = ("boxcar", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "triang", "cosine")
    cases += [_case(f"window {window}", x, nperseg=12, window=window) for window in plain]
    cases.append(_case("window kaiser", x, nperseg=12, window="kaiser", beta=6))
    cases.append(_case("window gaussian", x, nperseg=12, window="gaussian", std=2.5))
    cases.append(_case("window tukey", x, nperseg=12, window="tukey"))
    cases.append(_case("window tukey with alpha", x, nperseg=12, window="tukey", alpha=0.25))
    for detrend in ("none", "constant", "linear"):
        cases.append(_case(f"detrend {detrend}", x + 3 + np.arange(40) / 8, nperseg=10, detrend=detrend))
    for scaling in ("spectrum", "psd"):
        cases.append(_case(f"scaling {scaling}", x, nperseg=8, scaling=scaling, fs=250))
    cases += [_case(f"fs {fs}", samples(9), nperseg=4, fs=fs) for fs in (1e-12, 0.5, 44100.0, 1e18)]

    cube = samples((3, 6, 4))
    cases += [_case(f"axis {axis} of 3", cube, axis=axis, nperseg=3) for axis in (-3, -2, -1, 0, 1, 2)]
    cases.append(_case("axis 1 of 6, floats", samples((1, 8, 1, 2, 1, 3), "float32"), axis=1, nperseg=4))
    cases.append(_case("many lines along the first axis", samples((6, 40), "float32"), axis=0, nperseg=4))
    none = np.zeros((0, 8))
    empty = {"f": np.fft.rfftfreq(4), "t": np.arange(5) * 2.0, "Zxx": np.zeros((0, 3, 5), complex)}
    cases.append(answer("no lines", {"x": none}, {"nperseg": 4}, empty, 1e-12))

    cases.append(_case("a constant", np.full(16, 2.5), nperseg=8))
    cases.append(_case("zeros", np.zeros(9), nperseg=4))
    cases.append(_case("denormal", samples(12) * 1e-310, nperseg=4))
    cases.append(_case("huge", samples(12) * 1e300, nperseg=4))
    gap = samples(30)
    gap[12] = np.nan
    cases.append(_case("NaN in some segments", gap, nperseg=6))
    return cases


def segment_refusals() -> list[str]:
    """Parameters that no function over segments of 8 real samples accepts."""
    return [
        *('{"nperseg":0}', '{"nperseg":9}', '{"nperseg":16777217}', '{"nperseg":4.5}', '{"nperseg":"4"}'),
        *('{"nperseg":4,"noverlap":4}', '{"noverlap":8}', '{"noverlap":-1}', '{"nperseg":4,"noverlap":null}'),
        *('{"nfft":7}', '{"nperseg":4,"nfft":3}', '{"nfft":0}', '{"nfft":16777217}', '{"nfft":true}'),
        *('{"window":"Hann"}', '{"window":"kaiser"}', '{"window":"gaussian"}', '{"beta":1}', '{"std":1}'),
        *('{"alpha":0.5}', '{"window":"tukey","alpha":2}', '{"window":"kaiser","beta":-1}', '{"window":["hann"]}'),
        *('{"detrend":"Linear"}', '{"detrend":false}', '{"detrend":null}', '{"return_onesided":1}', '{"fs":0}'),
        *('{"fs":-1}', '{"fs":NaN}', '{"fs":"1"}', '{"fs":1e19}', '{"axis":1}', '{"axis":-2}', '{"axis":0.5}'),
        *('{"scaling":"power"}', '{"scaling":null}', '{"mode":"psd"}', '{"":1}'),
    ]


def shape_refusals() -> dict[str, dict[str, NDArray[Any]]]:
    """Tensors that no function over segments accepts."""
    x = samples(8)
    shapes = {f"dtype {dtype}": {"x": np.ones(8, dtype)} for dtype in ("bool", "uint8", "int64", "float16")}
    shapes |= {"0-d": {"x": np.array(1.0)}, "no tensor": {}, "another name": {"z": x}}
    return shapes | {"no samples": {"x": np.zeros(0)}, "no samples in a batch": {"x": np.zeros((3, 0))}}


def refusals() -> list[Json]:
    x = samples(8)
    shapes = shape_refusals() | {"one tensor too many": {"x": x, "y": x}}
    shapes["7 dimensions whose spectra would be stored with 9"] = {"x": np.zeros((1,) * 7)}
    shapes["8 dimensions"] = {"x": np.zeros((1,) * 8, "float32")}
    cases = [refused(name, frame(arrays), "invalid_shape") for name, arrays in shapes.items()]
    own = ['{"boundary":null}', '{"boundary":"reflect"}', '{"padded":1}', '{"scaling":"density"}']
    for text in (*segment_refusals(), *own):
        cases += [refused(f"parameters {text}", parameters_frame(text, {"x": x}), "invalid_parameter")]
    content = frame({"x": samples(4, "complex64")}, {"return_onesided": True})
    cases.append(refused("one-sided complex64", content, "invalid_parameter"))
    content = frame({"x": np.zeros(300, np.float32)}, {"nperseg": 1, "nfft": 16777216})
    cases.append(refused("spectra of 19 GiB from 1 KiB", content, "payload_too_large"))
    cases.append(refused("a truncated frame", frame({"x": x})[:-1], "invalid_frame"))
    return cases
