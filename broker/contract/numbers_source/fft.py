"""Golden numbers of `fft`, by SciPy.

A spectrum is computed in double precision and then rounded, so that it is no engine's rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame
from scipy import fft as scipy_fft

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float16": 2e-6, "float32": 2e-6, "float64": 1e-13, "complex64": 2e-6, "complex128": 1e-13}


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def _case(name: str, x: NDArray[Any], **params: Any) -> Json:
    one_sided = params.get("return_onesided", x.dtype.kind != "c")
    exact = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    settings = {"n": params.get("n"), "axis": int(params.get("axis", -1)), "norm": params.get("norm", "backward")}
    if settings["n"] is not None:
        settings["n"] = int(settings["n"])
    y = (scipy_fft.rfft if one_sided else scipy_fft.fft)(exact, **settings)
    single = x.dtype.name in ("float16", "float32", "complex64")
    y = y.astype(np.complex64 if single else np.complex128)
    # An engine without half precision answers `unsupported`, and the request goes to the other.
    unsupported_by = ("rust",) if x.dtype == np.float16 else ()
    return answer(name, {"x": x}, params, {"y": y}, TOLERANCE[x.dtype.name], unsupported_by)


def answers() -> list[Json]:
    cases = [
        _case(f"{n} doubles", samples(n)) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 25, 31, 64, 97, 128)
    ]
    for dtype in ("float16", "float32", "complex64", "complex128"):
        cases += [_case(f"{n} of {dtype}", samples(n, dtype)) for n in (1, 2, 3, 8, 13, 30)]
    for dtype in ("float16", "float32", "float64"):
        cases.append(_case(f"{dtype}, two-sided", samples(9, dtype), return_onesided=False))
        cases.append(_case(f"{dtype}, one-sided on request", samples(6, dtype), return_onesided=True))
    cases.append(_case("complex64, two-sided on request", samples(5, "complex64"), return_onesided=False))
    cases.append(_case("one sample, two-sided", samples(1), return_onesided=False))

    for norm in ("backward", "ortho", "forward"):
        for dtype in ("float32", "float64", "complex64", "complex128"):
            cases.append(_case(f"{dtype}, {norm}", samples(10, dtype), norm=norm))
        cases.append(_case(f"{norm}, padded", samples(5), norm=norm, n=12))
    for n in (1, 2, 5, 8, 9, 13, 32):
        cases.append(_case(f"8 samples as {n}", samples(8), n=n))
        cases.append(_case(f"8 complex samples as {n}", samples(8, "complex128"), n=n))
    cases.append(_case("a whole number written as a float", samples(8), n=4.0, axis=-1.0))
    cases.append(_case("no samples, padded", np.zeros((2, 0)), n=4))

    cube = samples((2, 3, 4))
    cases += [_case(f"axis {axis} of 3", cube, axis=axis) for axis in (-3, -2, -1, 0, 1, 2)]
    cases += [_case(f"axis {axis} of 3, 5 points", cube.astype(np.complex64), axis=axis, n=5) for axis in (0, 1, 2)]
    eight = samples((1, 2, 1, 3, 1, 2, 1, 2), "float32")
    cases += [_case(f"axis {axis} of 8", eight, axis=axis) for axis in (-8, -5, 0, 3, 7)]
    cases.append(_case("axis 6 of 7, complex128", samples((1, 2, 1, 3, 1, 2, 2), "complex128"), axis=6))
    cases.append(_case("a batch of 20 lines", samples((5, 4, 16))))
    cases.append(_case("many lines along the first axis", samples((6, 40), "float32"), axis=0))
    cases.append(_case("no lines", np.zeros((0, 8), np.float32)))
    cases.append(_case("no lines behind the axis", np.zeros((4, 0)), axis=0))

    cases.append(_case("a constant", np.full(16, 2.5)))
    cases.append(_case("zeros", np.zeros(7)))
    cases.append(_case("minus zeros", np.full(4, -0.0)))
    cases.append(_case("an impulse", np.eye(1, 12, 3)[0]))
    cases.append(_case("a cosine on a bin", np.tile([1.0, 0.0, -1.0, 0.0], 8)))
    cases.append(_case("alternating signs", np.tile([1.0, -1.0], 16)))
    cases.append(_case("denormal doubles", samples(8) * 1e-310))
    cases.append(_case("denormal floats", (samples(8) * 1e-40).astype(np.float32)))
    cases.append(_case("the smallest denormal", np.full(3, 5e-324)))
    cases.append(_case("huge doubles", samples(8) * 1e306))
    cases.append(_case("huge floats", (samples(8) * 1e37).astype(np.float32)))
    cases.append(_case("huge beside tiny", np.array([1e300, 1e-300, -1e300, 1.0])))
    lines = samples((3, 8))
    lines[1, 2] = np.nan
    cases.append(_case("NaN in one line of three", lines))
    lines = samples((3, 9), "float32")
    lines[0, 0] = np.nan
    cases.append(_case("NaN in front, odd length", lines))
    complex_lines = samples((2, 5), "complex128")
    complex_lines[1, 4] = complex(np.nan, 1.0)
    cases.append(_case("NaN in a complex line", complex_lines))
    cropped = samples(8)
    cropped[7] = np.nan
    cases.append(_case("NaN cropped away", cropped, n=7))
    return cases


def refusals() -> list[Json]:
    x = samples(4)
    shapes = {
        f"dtype {dtype}": {"x": np.ones(4, dtype)}
        for dtype in ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
    }
    shapes["0-d"] = {"x": np.array(1.0)}
    shapes["no tensor"] = {}
    shapes["another name"] = {"y": x}
    shapes["upper-case name"] = {"X": x}
    shapes["one tensor too many"] = {"x": x, "y": x}
    shapes["no samples"] = {"x": np.zeros(0)}
    shapes["no samples in a batch"] = {"x": np.zeros((3, 0))}
    shapes["8 dimensions whose spectrum would be stored with 9"] = {"x": np.zeros((1,) * 8)}
    cases = [refused(name, frame(arrays), "invalid_shape") for name, arrays in shapes.items()]
    for text in (
        *('{"n":0}', '{"n":-1}', '{"n":16777217}', '{"n":1.5}', '{"n":"8"}', '{"n":true}', '{"n":null}', '{"n":[8]}'),
        *('{"n":1e30}', '{"n":1000000000000000000000000000000}', '{"n":{}}', '{"n":NaN}', '{"n":1e999}'),
        *('{"axis":1}', '{"axis":-2}', '{"axis":8}', '{"axis":-9}', '{"axis":0.5}', '{"axis":"0"}', '{"axis":false}'),
        *('{"axis":null}', '{"axis":[0]}', '{"axis":9223372036854775808}', '{"axis":-9223372036854775809}'),
        *('{"norm":"foo"}', '{"norm":""}', '{"norm":"Ortho"}', '{"norm":"ortho "}', '{"norm":null}', '{"norm":1}'),
        *('{"norm":["ortho"]}', '{"return_onesided":"yes"}', '{"return_onesided":1}', '{"return_onesided":null}'),
        *('{"overwrite_x":true}', '{"N":4}', '{"":1}', '{"n":4,"m":4}', '{"größe":4}'),
    ):
        cases += [refused(f"parameters {text}", parameters_frame(text, {"x": x}), "invalid_parameter")]
    for dtype in ("complex64", "complex128"):
        content = frame({"x": samples(4, dtype)}, {"return_onesided": True})
        cases.append(refused(f"one-sided {dtype}", content, "invalid_parameter"))
    content = frame({"x": np.zeros((4096, 1), np.float32)}, {"n": 16777216})
    cases.append(refused("a spectrum of 256 GiB from 16 KiB", content, "payload_too_large"))
    cases.append(refused("a truncated frame", frame({"x": x})[:-1], "invalid_frame"))
    return cases
