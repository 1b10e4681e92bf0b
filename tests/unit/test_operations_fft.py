"""`fft` on the Python engine; the numbers themselves are in the golden vectors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from npufleet import operations
from npufleet.errors import InvalidShapeError

ROWS = operations.REGISTRY["fft"].rows


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        ("float16", "complex64"),
        ("float32", "complex64"),
        ("float64", "complex128"),
        ("complex64", "complex64"),
        ("complex128", "complex128"),
    ],
)
def test_precision(dtype: str, result: str) -> None:
    assert operations.execute("fft", {"x": np.ones(4, dtype)}, {})["y"].dtype == result


@pytest.mark.parametrize(
    ("shape", "params", "expected"),
    [
        ((8,), {}, (5,)),
        ((7,), {}, (4,)),
        ((8,), {"return_onesided": False}, (8,)),
        ((2, 8), {"axis": 0}, (2, 8)),
        ((2, 8), {"n": 3}, (2, 2)),
        ((0, 8), {}, (0, 5)),
        ((0,), {"n": 4}, (3,)),
    ],
)
def test_shapes(shape: tuple[int, ...], params: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert operations.execute("fft", {"x": np.zeros(shape)}, params)["y"].shape == expected


def test_rows_are_lines() -> None:
    assert ROWS({"x": np.zeros((2, 3, 4))}, {"axis": 1}) == 8
    assert ROWS({"x": np.zeros(4)}, {"axis": -1}) == 1


def test_the_input_is_left_as_it_was() -> None:
    x = np.arange(8) + 0j
    x.flags.writeable = False
    operations.execute("fft", {"x": x}, {})
    np.testing.assert_array_equal(x, np.arange(8))


def test_unsupported_dtype() -> None:
    with pytest.raises(InvalidShapeError):
        operations.execute("fft", {"x": np.array([object()])}, {})


def test_scipy_is_imported_by_the_first_transform_only() -> None:
    program = (
        "import sys, numpy\n"
        "from npufleet import operations\n"
        "assert not any(name.split('.')[0] == 'scipy' for name in sys.modules)\n"
        "operations.execute('fft', {'x': numpy.ones(4)}, {})\n"
        "assert 'scipy.fft' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
