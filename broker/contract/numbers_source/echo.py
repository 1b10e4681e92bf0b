"""Cases of `echo`: what comes back is what was sent, bit for bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import frame

from numbers_source.common import answer, parameters_frame, refused, samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]


def cases() -> list[Json]:
    every = {dtype: (np.arange(3) % 2).astype(dtype) for dtype in ("bool", "int8", "float16", "float32", "complex64")}
    odd = np.array([0x7FF8000000000123, 0x7FF0000000000000, 0x8000000000000000, 1], np.uint64).view(np.float64)
    found: list[Json] = []

    def same(name: str, arrays: dict[str, NDArray[Any]], params: Json | None = None) -> None:
        found.append(answer(name, arrays, params, arrays, 0.0))

    same("one tensor", {"x": samples(16)})
    same("no tensors", {})
    same("many tensors", every)
    same("0-d and zero-length", {"a": np.array(1.0), "b": np.zeros((0, 3))})
    same("NaN payload, infinity, minus zero, denormal", {"x": odd})
    same("complex128", {"z": samples((2, 3), "complex128")})
    same("no delay", {"x": samples(2)}, {"delay": 0})
    same("a short delay", {"x": samples(2)}, {"delay": 0.001})
    for value in (-1, -1e-9, 60.001, 61, 1e300, "1", True, None, [1], {"s": 1}):
        content = frame({"x": samples(2)}, {"delay": value})
        found.append(refused(f"delay {json.dumps(value)}", content, "invalid_parameter"))
    found.append(refused("delay NaN", parameters_frame('{"delay":NaN}', {"x": samples(2)}), "invalid_parameter"))
    found.append(refused("unknown parameter", frame({"x": samples(2)}, {"seconds": 1}), "invalid_parameter"))
    found.append(refused("no frame", b"hello", "invalid_frame"))
    return found
