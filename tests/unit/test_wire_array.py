"""Array-likes: what is taken without a copy, what is converted, what is refused by the tensor's name."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

from npufleet.errors import InvalidShapeError
from npufleet.wire.array import as_array


class DLPack:
    """An array of another library: DLPack and nothing else."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class OnAnotherDevice(DLPack):
    def __dlpack__(self, **_options: Any) -> Any:
        raise BufferError("the tensor lies on a GPU")


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        ([1.0, 2.0], "float64", (2,)),
        ([[1, 2], [3, 4]], "int64", (2, 2)),
        ((True, False), "bool", (2,)),
        (1.5, "float64", ()),
        (2 + 1j, "complex128", ()),
        (True, "bool", ()),
        (np.float32(1), "float32", ()),
        ([], "float64", (0,)),
        (b"abc", "uint8", (3,)),
        (b"", "uint8", (0,)),
        (bytearray(b"abc"), "uint8", (3,)),
        (memoryview(b"abc"), "uint8", (3,)),
        (array.array("f", [1, 2]), "float32", (2,)),
        (range(3), "int64", (3,)),
    ],
)
def test_converted(value: object, dtype: str, shape: tuple[int, ...]) -> None:
    found = as_array("x", value)
    assert (found.dtype.name, found.shape) == (dtype, shape)


def test_taken_without_a_copy() -> None:
    values = np.arange(6.0)
    assert as_array("x", values) is values
    assert np.shares_memory(as_array("x", DLPack(values)), values)
    assert np.shares_memory(as_array("x", memoryview(values)), values)
    samples = array.array("d", [1.0, 2.0])
    samples_view = as_array("x", samples)
    samples[0] = 5.0
    assert samples_view[0] == 5.0


@pytest.mark.parametrize(
    "value",
    [
        ["text"],
        "text",
        None,
        object(),
        [object()],
        [[1], [1, 2]],
        {"a": 1},
        {1, 2},
        np.array([None]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.array([1], "timedelta64[s]"),
        np.array([b"x"]),
        np.zeros(1, [("a", "f8")]),
        np.zeros(1, "V8"),
        np.zeros(1, np.longdouble),
        np.zeros(1, np.clongdouble),
        np.ma.masked_array([1.0], [True]),
        np.zeros((1,) * 9),
        [2**70],
        OnAnotherDevice(None),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', value)!s:.30}",
)
def test_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidShapeError, match="'samples'"):
        as_array("samples", value)
