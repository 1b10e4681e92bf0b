"""Golden numbers of `ifft`, by SciPy, computed in double precision and then rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame
from scipy import fft as scipy_fft

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13, "complex64": 2e-6, "complex128": 1e-13}


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def _case(name: str, x: NDArray[Any], **params: Any) -> Json:
    one_sided = params.get("input_onesided", False)
    settings = {"n": params.get("n"), "axis": int(params.get("axis", -1)), "norm": params.get("norm", "backward")}
    if settings["n"] is not None:
        settings["n"] = int(settings["n"])
    y = (scipy_fft.irfft if one_sided else scipy_fft.ifft)(x.astype(np.complex128), **settings)
    single = x.dtype.name in ("float32", "complex64")
    y = y.astype(("float32" if single else "float64") if one_sided else ("complex64" if single else "complex128"))
    return answer(name, {"x": x}, params, {"y": y}, TOLERANCE[x.dtype.name])


def answers() -> list[Json]:
    cases = []
    for n in (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 30, 31, 64):
        cases.append(_case(f"{n} bins", samples(n, "complex128")))
        if n > 1:
            cases.append(_case(f"{n} bins of one side", samples(n, "complex128"), input_onesided=True))
    for dtype in ("float32", "float64", "complex64", "complex128"):
        for n in (2, 9, 16):
            for one_sided in (True, False):
                name = f"{n} bins of {dtype}, {'one' if one_sided else 'two'}-sided"
                cases.append(_case(name, samples(n, dtype), input_onesided=one_sided))
        for norm in ("backward", "ortho", "forward"):
            for one_sided in (True, False):
                name = f"{dtype}, {norm}, {'one' if one_sided else 'two'}-sided"
                cases.append(_case(name, samples(6, dtype), norm=norm, input_onesided=one_sided))
    for n in (1, 2, 5, 8, 9, 13, 14, 15, 16, 32):
        for one_sided in (True, False):
            name = f"8 bins as {n} samples, {'one' if one_sided else 'two'}-sided"
            cases.append(_case(name, samples(8, "complex128"), n=n, input_onesided=one_sided))
    cases.append(_case("one bin of one side as one sample", samples(1, "complex128"), n=1, input_onesided=True))
    cases.append(_case("no bins, padded", np.zeros((2, 0), complex), n=4))
    cases.append(_case("no bins of one side, padded", np.zeros((2, 0), complex), n=4, input_onesided=True))
    cases.append(_case("a whole number written as a float", samples(8, "complex128"), n=4.0, axis=-1.0))

    cube = samples((2, 3, 4), "complex128")
    for axis in (-3, -2, -1, 0, 1, 2):
        cases.append(_case(f"axis {axis} of 3", cube, axis=axis))
        cases.append(_case(f"axis {axis} of 3, one-sided", cube, axis=axis, n=3, input_onesided=True))
    cases.append(_case("axis 3 of 8", samples((1, 2, 1, 3, 1, 2, 1, 2), "complex64"), axis=3))
    cases.append(
        _case("axis 0 of 8, one-sided doubles", samples((3, 1, 1, 2, 1, 1, 1, 2)), axis=0, input_onesided=True)
    )
    cases.append(_case("a batch of 20 lines", samples((5, 4, 8), "complex64")))
    cases.append(_case("many lines along the first axis", samples((6, 40), "complex64"), axis=0, input_onesided=True))
    cases.append(_case("no lines", np.zeros((0, 8), np.complex64)))
    cases.append(_case("no lines behind the axis", np.zeros((4, 0), complex), axis=0, input_onesided=True))

    cases.append(_case("zeros", np.zeros(7, complex)))
    cases.append(_case("a constant", np.full(16, 2.5 + 0j)))
    cases.append(_case("denormal", samples(8, "complex128") * 1e-310))
    cases.append(_case("denormal floats", (samples(8, "complex64") * 1e-40).astype("complex64"), norm="forward"))
    cases.append(_case("huge", samples(8, "complex128") * 1e306))
    cases.append(_case("huge floats", (samples(8, "complex64") * 1e37).astype("complex64"), input_onesided=True))
    lines = samples((3, 8), "complex128")
    lines[1, 2] = np.nan
    cases.append(_case("NaN in one line of three", lines))
    cases.append(_case("NaN in one line of three, one-sided", lines, input_onesided=True))
    hidden = samples(5, "complex128")
    hidden[0], hidden[4] = complex(0.5, np.nan), complex(0.25, np.inf)
    cases.append(_case("imaginary parts that nobody looks at", hidden, input_onesided=True))
    cropped = samples(8, "complex128")
    cropped[7] = np.nan
    cases.append(_case("NaN cropped away", cropped, n=7))
    return cases


def refusals() -> list[Json]:
    x = samples(4)
    shapes = {f"dtype {dtype}": {"x": np.ones(4, dtype)} for dtype in ("bool", "uint8", "int64", "float16")}
    shapes["0-d"] = {"x": np.array(1j)}
    shapes["no tensor"] = {}
    shapes["another name"] = {"y": x}
    shapes["one tensor too many"] = {"x": x, "y": x}
    shapes["no bins"] = {"x": np.zeros(0, complex)}
    shapes["8 dimensions whose samples would be stored with 9"] = {"x": np.zeros((1,) * 8)}
    cases = [refused(name, frame(arrays), "invalid_shape") for name, arrays in shapes.items()]
    content = frame({"x": np.ones(1, complex)}, {"input_onesided": True})
    cases.append(refused("one bin of one side", content, "invalid_shape"))
    for text in (
        *('{"n":0}', '{"n":-1}', '{"n":16777217}', '{"n":1.5}', '{"n":"8"}', '{"n":true}', '{"n":null}', '{"n":[8]}'),
        *('{"axis":1}', '{"axis":-2}', '{"axis":8}', '{"axis":-9}', '{"axis":0.5}', '{"axis":"0"}', '{"axis":[0]}'),
        *('{"norm":"foo"}', '{"norm":"Ortho"}', '{"norm":null}', '{"input_onesided":1}', '{"input_onesided":null}'),
        *('{"return_onesided":true}', '{"overwrite_x":true}', '{"":1}'),
    ):
        cases += [refused(f"parameters {text}", parameters_frame(text, {"x": x}), "invalid_parameter")]
    content = frame({"x": np.zeros((4096, 1), np.float32)}, {"n": 16777216})
    cases.append(refused("samples of 512 GiB from 16 KiB", content, "payload_too_large"))
    cases.append(refused("a truncated frame", frame({"x": x})[:-1], "invalid_frame"))
    return cases
