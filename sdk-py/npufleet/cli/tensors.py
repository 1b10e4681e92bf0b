"""Arrays from files and text, and back: what `--input` and `--output` mean.

An input is `[NAME[:DTYPE]=]SOURCE`; a source is a .npy, .csv or .json file, `-` for standard input, or JSON itself.
A JSON object gives several arrays by name. Complex numbers are pairs of numbers in JSON, in and out.
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npufleet.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from npufleet.wire.contract import Operation

    Arrays = dict[str, NDArray[Any]]

_NAMED = re.compile(r"(?P<name>[^=:\[{]+)(:(?P<dtype>[a-z]+[0-9]*))?=(?P<source>.*)", re.DOTALL)
_NPY = b"\x93NUMPY"


def read_inputs(operation: Operation, inputs: Sequence[str]) -> Arrays:
    """Return the arrays that `--input` options name; raises a usage error for a source that cannot be read."""
    arrays: Arrays = {}
    for text in inputs:
        match = _NAMED.fullmatch(text)
        name, dtype, source = (match["name"], match["dtype"], match["source"]) if match else (None, None, text)
        try:
            value = _value(source)
            named = value if isinstance(value, dict) else {name or _only_name(operation): value}
            for each, content in named.items():
                wanted = np.dtype(dtype) if dtype else _default_dtype(operation, each, content)
                arrays[each] = _array(content, wanted)
        except (OSError, ValueError, TypeError) as error:
            raise console.usage(f"input {text[:80]!r}: {error}") from error
    return arrays


def _value(source: str) -> Any:
    """Read a source: an array from .npy and .csv, whatever JSON says otherwise."""
    if source == "-":
        return _parsed(sys.stdin.buffer.read(), "standard input")
    if source.lstrip().startswith(("[", "{")) or re.fullmatch(r"\s*-?[0-9.]+([eE][-+]?[0-9]+)?\s*", source):
        return json.loads(source)
    path = Path(source)
    if path.suffix not in (".npy", ".csv", ".json"):
        raise ValueError("allowed: a .npy, .csv or .json file, - for standard input, or JSON")
    return _parsed(path.read_bytes(), source, comma=path.suffix == ".csv")


def _parsed(data: bytes, where: str, *, comma: bool = False) -> Any:
    if data.startswith(_NPY):
        return np.load(io.BytesIO(data), allow_pickle=False)
    text = data.decode("utf-8")
    if comma or not text.lstrip().startswith(("[", "{")):
        return _table(text, where)
    return json.loads(text)


def _table(text: str, where: str) -> NDArray[np.float64]:
    """Read numbers separated by commas; a first line that is no numbers is a heading."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{where} is empty")
    try:
        [float(cell) for cell in lines[0].split(",")]
    except ValueError:
        lines = lines[1:]
    return np.loadtxt(lines, delimiter=",", dtype=np.float64)


def _array(value: Any, dtype: np.dtype[Any] | None) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(value)
    if array.dtype.kind in "USO":
        array = array.astype(np.float64)  # "NaN" and "Infinity", which JSON has no numbers for
    if dtype is None or array.dtype == dtype:
        return array
    if dtype.kind == "c" and not isinstance(value, np.ndarray):
        pairs = np.ascontiguousarray(array, dtype=np.float64)
        if pairs.ndim == 0 or pairs.shape[-1] != 2:
            raise ValueError(f"complex numbers are written as pairs; the last dimension is not 2 but {pairs.shape}")
        return pairs.view(np.complex128)[..., 0].astype(dtype)
    return array.astype(dtype)


def _default_dtype(operation: Operation, name: str, content: Any) -> np.dtype[Any] | None:
    """Text has no dtype: where an operation declares float64 and no int64, whole numbers are float64."""
    if isinstance(content, np.ndarray):
        return None
    for row in operation.inputs or ():
        if row.matches(name) and "F64" in row.dtypes and "I64" not in row.dtypes:
            return np.dtype(np.float64)
    return None


def _only_name(operation: Operation) -> str:
    if operation.main_name is not None:
        return operation.main_name
    raise ValueError("say which input it is: NAME=SOURCE")


def write_outputs(arrays: Arrays, outputs: Sequence[str]) -> dict[str, str]:
    """Write the arrays that `--output` options name and return the places by array name."""
    written: dict[str, str] = {}
    for text in outputs:
        name, equals, target = text.rpartition("=")
        if not equals:
            if len(arrays) != 1:
                raise console.usage(f"output {text!r}: say which array: NAME=FILE with one of {', '.join(arrays)}")
            name = next(iter(arrays))
        if name not in arrays:
            raise console.usage(f"output {text!r}: no array {name!r}; the result has {', '.join(arrays)}")
        try:
            _write(arrays[name], target)
        except (OSError, ValueError) as error:
            raise console.usage(f"output {text!r}: {error}") from error
        written[name] = target
    return written


def _write(array: NDArray[Any], target: str) -> None:
    if target == "-":
        np.lib.format.write_array(sys.stdout.buffer, np.asarray(array), allow_pickle=False)
        return
    match Path(target).suffix:
        case ".npy":
            np.save(target, array, allow_pickle=False)
        case ".csv":
            np.savetxt(target, np.atleast_1d(plain(array)), delimiter=",")
        case ".json":
            Path(target).write_text(json.dumps(plain(array).tolist()) + "\n", "utf-8")
        case _:
            raise ValueError("allowed: a .npy, .csv or .json file, or - for standard output")


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """Return complex numbers as pairs of numbers in a last dimension of 2, other arrays as they are."""
    if array.dtype.kind != "c":
        return array
    return np.stack([array.real, array.imag], axis=-1)
