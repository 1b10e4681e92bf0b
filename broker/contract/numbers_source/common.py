"""What the sources of golden numbers share: samples, and cases as the vectors hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from frames_source import entry, frame, raw

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json = dict[str, Any]


def samples(shape: tuple[int, ...] | int, dtype: str = "float64", seed: int = 1) -> NDArray[Any]:
    """Dyadic numbers in [-1, 1): exact in every dtype, and the same with every version of NumPy."""
    count = int(np.prod(shape))
    state, values = seed, []
    for _ in range(2 * count):
        state = (state * 1103515245 + 12345) % 2**31
        values.append((state >> 21) / 512.0 - 1.0)
    real, imaginary = np.array(values).reshape(2, count)
    samples = real + 1j * imaginary if dtype.startswith("complex") else real
    return samples.astype(dtype).reshape(shape)


def answer(
    name: str,
    arrays: dict[str, NDArray[Any]],
    params: Json | None,
    expected: dict[str, NDArray[Any]],
    tolerance: float,
    unsupported_by: tuple[str, ...] = (),
) -> Json:
    """A request with the tensors that must come back; an engine named last answers `unsupported` instead.

    `tolerance` is relative to the largest finite magnitude of each expected tensor, or the smallest normal number.
    """
    arrays, expected = ({key: np.asarray(a, order="C") for key, a in each.items()} for each in (arrays, expected))
    case = {
        "name": name,
        "frame_hex": frame(arrays, params or None).hex(),
        "expect_hex": frame(expected).hex(),
        "kind": None,
        "tolerance": tolerance,
    }
    return case | ({"unsupported_by": list(unsupported_by)} if unsupported_by else {})


def refused(name: str, content: bytes, kind: str) -> Json:
    """A request that must be answered with this kind of error."""
    return {"name": name, "frame_hex": content.hex(), "expect_hex": None, "kind": kind, "tolerance": 0.0}


def parameters_frame(text: str, arrays: dict[str, NDArray[Any]]) -> bytes:
    """A frame whose parameters are this text, which `json.dumps` need not be able to write."""
    header: Json = {"__metadata__": {"params": text}}
    offset = 0
    for name, array in arrays.items():
        header[name] = entry("F64", list(array.shape), offset, offset + array.nbytes)
        offset += array.nbytes
    return raw(header, b"".join(a.tobytes() for a in arrays.values()))
