"""What `--input` reads and `--output` writes."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from npufleet.cli import tensors
from npufleet.wire import contract

if TYPE_CHECKING:
    from pathlib import Path

FFT = contract.operation("fft")
ECHO = contract.operation("echo")
INFER = contract.operation("infer")


def one(text: str, operation: contract.Operation = ECHO) -> Any:
    (array,) = tensors.read_inputs(operation, [text]).values()
    return array


def test_names_and_dtypes() -> None:
    arrays = tensors.read_inputs(ECHO, ["[1, 2]", "a=[1.5]", "b:float32=[[1], [2]]", "c:uint8=7"])
    assert {name: (str(array.dtype), array.shape) for name, array in arrays.items()} == {
        "x": ("int64", (2,)),
        "a": ("float64", (1,)),
        "b": ("float32", (2, 1)),
        "c": ("uint8", ()),
    }


def test_whole_numbers_become_what_the_operation_declares() -> None:
    assert one("[1, 2, 3]", FFT).dtype == np.float64
    assert one("x:complex64=[[1, 2], [3, 4]]", FFT).tolist() == [1 + 2j, 3 + 4j]


def test_an_object_gives_several_arrays() -> None:
    arrays = tensors.read_inputs(INFER, ['{"ids": [[1, 2]], "mask": [[true, false]]}'])
    assert arrays["ids"].tolist() == [[1, 2]]
    assert arrays["mask"].dtype == bool


def test_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    (tmp_path / "heading.csv").write_text("hart\n1.5\n2.5\n")
    (tmp_path / "two.csv").write_text("1,2\n3,4\n")
    (tmp_path / "x.json").write_text("[[1, 2]]")
    assert one(f"{tmp_path}/x.npy").shape == (2, 3)
    assert one(f"x={tmp_path}/heading.csv").tolist() == [1.5, 2.5]
    assert one(f"x={tmp_path}/two.csv").tolist() == [[1, 2], [3, 4]]
    assert one(f"{tmp_path}/x.json").tolist() == [[1, 2]]


@pytest.mark.parametrize("data", [b"[1, 2.5]", b"1\n2.5\n", b"npy"])
def test_standard_input(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if data == b"npy":
        buffer = io.BytesIO()
        np.save(buffer, np.array([1, 2.5]))
        data = buffer.getvalue()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert one("-").tolist() == [1.0, 2.5]


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(typer.BadParameter, match="allow_pickle=False"):
        one(f"{tmp_path}/x.npy")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x.txt", "allowed: a .npy, .csv or .json file, - for standard input, or JSON"),
        ("x:complex64=[1, 2, 3]", "the last dimension is not 2"),
        ("x:nonsense3=[1]", "nonsense3"),
        ("[[1], [2, 3]]", "inhomogeneous"),
        ('["a"]', "could not convert"),
        ("/nowhere.npy", "No such file"),
    ],
)
def test_bad_inputs_are_named(text: str, complaint: str) -> None:
    with pytest.raises(typer.BadParameter, match=complaint) as caught:
        one(text)
    assert text in str(caught.value)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=20))
def test_numbers_survive_the_way_through_json(values: list[float]) -> None:
    from npufleet.cli.console import _finite

    text = json.dumps(_finite(values), allow_nan=False)
    assert np.array_equal(one(f"x:float64={text}"), np.array(values, dtype=np.float64), equal_nan=True)


def test_outputs(tmp_path: Path) -> None:
    arrays = {"y": np.array([1 + 2j, 3 - 4j])}
    written = tensors.write_outputs(arrays, [f"{tmp_path}/y.npy", f"y={tmp_path}/y.json", f"y={tmp_path}/y.csv"])
    assert written == {"y": f"{tmp_path}/y.csv"}
    assert np.load(tmp_path / "y.npy").tolist() == [1 + 2j, 3 - 4j]
    assert json.loads((tmp_path / "y.json").read_text()) == [[1, 2], [3, -4]]
    assert np.loadtxt(tmp_path / "y.csv", delimiter=",").tolist() == [[1, 2], [3, -4]]


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("y.npy", "say which array: NAME=FILE with one of a, b"),
        ("c=y.npy", "no array 'c'; the result has a, b"),
        ("a=y.txt", "allowed: a .npy, .csv or .json file"),
        ("a=/nowhere/y.npy", "No such file"),
    ],
)
def test_bad_outputs_are_named(output: str, complaint: str) -> None:
    with pytest.raises(typer.BadParameter, match=complaint):
        tensors.write_outputs({"a": np.zeros(1), "b": np.zeros(1)}, [output])
