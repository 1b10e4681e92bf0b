"""Golden numbers: requests to each operation with the answers that SciPy gives, and requests that must be refused.

Nothing here comes from npufleet. A spectrum is computed in double precision and then rounded, so that it is the
truth and not one engine's rounding of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import entry, frame, raw
from scipy import fft as scipy_fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]
TOLERANCE = {"float16": 2e-6, "float32": 2e-6, "float64": 1e-13, "complex64": 2e-6, "complex128": 1e-13}
"""Largest error, relative to the largest finite magnitude of the expected tensor or the smallest normal number."""


def operations() -> dict[str, list[Json]]:
    return {"fft": [*_fft_answers(), *_fft_refusals()], "echo": _echo()}


def _samples(shape: tuple[int, ...] | int, dtype: str = "float64", seed: int = 1) -> NDArray[Any]:
    """Dyadic numbers in [-1, 1): exact in every dtype, and the same with every version of NumPy."""
    count = int(np.prod(shape))
    state, values = seed, []
    for _ in range(2 * count):
        state = (state * 1103515245 + 12345) % 2**31
        values.append((state >> 21) / 512.0 - 1.0)
    real, imaginary = np.array(values).reshape(2, count)
    samples = real + 1j * imaginary if dtype.startswith("complex") else real
    return samples.astype(dtype).reshape(shape)


def _fft(name: str, x: NDArray[Any], **params: Any) -> Json:
    one_sided = params.get("return_onesided", x.dtype.kind != "c")
    exact = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    settings = {"n": params.get("n"), "axis": int(params.get("axis", -1)), "norm": params.get("norm", "backward")}
    if settings["n"] is not None:
        settings["n"] = int(settings["n"])
    y = (scipy_fft.rfft if one_sided else scipy_fft.fft)(exact, **settings)
    single = x.dtype.name in ("float16", "float32", "complex64")
    y = np.ascontiguousarray(y.astype(np.complex64 if single else np.complex128))
    case = {
        "name": name,
        "frame_hex": frame({"x": x}, params or None).hex(),
        "expect_hex": frame({"y": y}).hex(),
        "kind": None,
        "tolerance": TOLERANCE[x.dtype.name],
    }
    if x.dtype == np.float16:
        # An engine without half precision answers `unsupported`, and the request goes to the other.
        case["unsupported_by"] = ["rust"]
    return case


def _fft_answers() -> list[Json]:
    cases = [
        _fft(f"{n} doubles", _samples(n)) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 25, 31, 64, 97, 128)
    ]
    for dtype in ("float16", "float32", "complex64", "complex128"):
        cases += [_fft(f"{n} of {dtype}", _samples(n, dtype)) for n in (1, 2, 3, 8, 13, 30)]
    for dtype in ("float16", "float32", "float64"):
        cases.append(_fft(f"{dtype}, two-sided", _samples(9, dtype), return_onesided=False))
        cases.append(_fft(f"{dtype}, one-sided on request", _samples(6, dtype), return_onesided=True))
    cases.append(_fft("complex64, two-sided on request", _samples(5, "complex64"), return_onesided=False))
    cases.append(_fft("one sample, two-sided", _samples(1), return_onesided=False))

    for norm in ("backward", "ortho", "forward"):
        for dtype in ("float32", "float64", "complex64", "complex128"):
            cases.append(_fft(f"{dtype}, {norm}", _samples(10, dtype), norm=norm))
        cases.append(_fft(f"{norm}, padded", _samples(5), norm=norm, n=12))
    for n in (1, 2, 5, 8, 9, 13, 32):
        cases.append(_fft(f"8 samples as {n}", _samples(8), n=n))
        cases.append(_fft(f"8 complex samples as {n}", _samples(8, "complex128"), n=n))
    cases.append(_fft("a whole number written as a float", _samples(8), n=4.0, axis=-1.0))
    cases.append(_fft("no samples, padded", np.zeros((2, 0)), n=4))

    cube = _samples((2, 3, 4))
    cases += [_fft(f"axis {axis} of 3", cube, axis=axis) for axis in (-3, -2, -1, 0, 1, 2)]
    cases += [_fft(f"axis {axis} of 3, 5 points", cube.astype(np.complex64), axis=axis, n=5) for axis in (0, 1, 2)]
    eight = _samples((1, 2, 1, 3, 1, 2, 1, 2), "float32")
    cases += [_fft(f"axis {axis} of 8", eight, axis=axis) for axis in (-8, -5, 0, 3, 7)]
    cases.append(_fft("axis 6 of 7, complex128", _samples((1, 2, 1, 3, 1, 2, 2), "complex128"), axis=6))
    cases.append(_fft("a batch of 20 lines", _samples((5, 4, 16))))
    cases.append(_fft("many lines along the first axis", _samples((6, 40), "float32"), axis=0))
    cases.append(_fft("no lines", np.zeros((0, 8), np.float32)))
    cases.append(_fft("no lines behind the axis", np.zeros((4, 0)), axis=0))

    cases.append(_fft("a constant", np.full(16, 2.5)))
    cases.append(_fft("zeros", np.zeros(7)))
    cases.append(_fft("minus zeros", np.full(4, -0.0)))
    cases.append(_fft("an impulse", np.eye(1, 12, 3)[0]))
    cases.append(_fft("a cosine on a bin", np.tile([1.0, 0.0, -1.0, 0.0], 8)))
    cases.append(_fft("alternating signs", np.tile([1.0, -1.0], 16)))
    cases.append(_fft("denormal doubles", _samples(8) * 1e-310))
    cases.append(_fft("denormal floats", (_samples(8) * 1e-40).astype(np.float32)))
    cases.append(_fft("the smallest denormal", np.full(3, 5e-324)))
    cases.append(_fft("huge doubles", _samples(8) * 1e306))
    cases.append(_fft("huge floats", (_samples(8) * 1e37).astype(np.float32)))
    cases.append(_fft("huge beside tiny", np.array([1e300, 1e-300, -1e300, 1.0])))
    lines = _samples((3, 8))
    lines[1, 2] = np.nan
    cases.append(_fft("NaN in one line of three", lines))
    lines = _samples((3, 9), "float32")
    lines[0, 0] = np.nan
    cases.append(_fft("NaN in front, odd length", lines))
    complex_lines = _samples((2, 5), "complex128")
    complex_lines[1, 4] = complex(np.nan, 1.0)
    cases.append(_fft("NaN in a complex line", complex_lines))
    cropped = _samples(8)
    cropped[7] = np.nan
    cases.append(_fft("NaN cropped away", cropped, n=7))
    return cases


def _refused(name: str, content: bytes, kind: str) -> Json:
    return {"name": name, "frame_hex": content.hex(), "expect_hex": None, "kind": kind, "tolerance": 0.0}


def _parameters(text: str, arrays: dict[str, NDArray[Any]]) -> bytes:
    """A frame whose parameters are this text, which `json.dumps` need not be able to write."""
    header: Json = {"__metadata__": {"params": text}}
    offset = 0
    for name, array in arrays.items():
        header[name] = entry("F64", list(array.shape), offset, offset + array.nbytes)
        offset += array.nbytes
    return raw(header, b"".join(a.tobytes() for a in arrays.values()))


def _fft_refusals() -> list[Json]:
    x = _samples(4)
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
    cases = [_refused(name, frame(arrays), "invalid_shape") for name, arrays in shapes.items()]
    for text in (
        *('{"n":0}', '{"n":-1}', '{"n":16777217}', '{"n":1.5}', '{"n":"8"}', '{"n":true}', '{"n":null}', '{"n":[8]}'),
        *('{"n":1e30}', '{"n":1000000000000000000000000000000}', '{"n":{}}', '{"n":NaN}', '{"n":1e999}'),
        *('{"axis":1}', '{"axis":-2}', '{"axis":8}', '{"axis":-9}', '{"axis":0.5}', '{"axis":"0"}', '{"axis":false}'),
        *('{"axis":null}', '{"axis":[0]}', '{"axis":9223372036854775808}', '{"axis":-9223372036854775809}'),
        *('{"norm":"foo"}', '{"norm":""}', '{"norm":"Ortho"}', '{"norm":"ortho "}', '{"norm":null}', '{"norm":1}'),
        *('{"norm":["ortho"]}', '{"return_onesided":"yes"}', '{"return_onesided":1}', '{"return_onesided":null}'),
        *('{"overwrite_x":true}', '{"N":4}', '{"":1}', '{"n":4,"m":4}', '{"größe":4}'),
    ):
        cases += [_refused(f"parameters {text}", _parameters(text, {"x": x}), "invalid_parameter")]
    for dtype in ("complex64", "complex128"):
        content = frame({"x": _samples(4, dtype)}, {"return_onesided": True})
        cases.append(_refused(f"one-sided {dtype}", content, "invalid_parameter"))
    content = frame({"x": np.zeros((4096, 1), np.float32)}, {"n": 16777216})
    cases.append(_refused("a spectrum of 256 GiB from 16 KiB", content, "payload_too_large"))
    cases.append(_refused("a truncated frame", frame({"x": x})[:-1], "invalid_frame"))
    return cases


def _echo() -> list[Json]:
    every = {dtype: (np.arange(3) % 2).astype(dtype) for dtype in ("bool", "int8", "float16", "float32", "complex64")}
    odd = np.array([0x7FF8000000000123, 0x7FF0000000000000, 0x8000000000000000, 1], np.uint64).view(np.float64)
    cases: list[Json] = []

    def answer(name: str, arrays: dict[str, NDArray[Any]], params: Json | None = None) -> None:
        content, expected = frame(arrays, params).hex(), frame(arrays).hex()
        cases.append({"name": name, "frame_hex": content, "expect_hex": expected, "kind": None, "tolerance": 0.0})

    answer("one tensor", {"x": _samples(16)})
    answer("no tensors", {})
    answer("many tensors", every)
    answer("0-d and zero-length", {"a": np.array(1.0), "b": np.zeros((0, 3))})
    answer("NaN payload, infinity, minus zero, denormal", {"x": odd})
    answer("complex128", {"z": _samples((2, 3), "complex128")})
    answer("no delay", {"x": _samples(2)}, {"delay": 0})
    answer("a short delay", {"x": _samples(2)}, {"delay": 0.001})
    for value in (-1, -1e-9, 60.001, 61, 1e300, "1", True, None, [1], {"s": 1}):
        content = frame({"x": _samples(2)}, {"delay": value})
        cases.append(_refused(f"delay {json.dumps(value)}", content, "invalid_parameter"))
    cases.append(_refused("delay NaN", _parameters('{"delay":NaN}', {"x": _samples(2)}), "invalid_parameter"))
    cases.append(_refused("unknown parameter", frame({"x": _samples(2)}, {"seconds": 1}), "invalid_parameter"))
    cases.append(_refused("no frame", b"hello", "invalid_frame"))
    return cases
