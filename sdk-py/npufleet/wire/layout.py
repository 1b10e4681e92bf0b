"""A frame's header: how one is written, and how one is checked before anything behind it is read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from npufleet.errors import InvalidFrameError, InvalidParameterError, InvalidShapeError
from npufleet.wire.contract import ALIGNMENT, HEADER_LIMIT, NAME_LIMIT, RANK_LIMIT, TENSOR_LIMIT
from npufleet.wire.dtype import COMPLEX128, DTYPES, Dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX: Final = 8
"""Bytes of the little-endian header length in front of the header."""

_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}
_SIZE_LIMIT = 2**63 - 1  # what an offset is in every language that reads frames


class _NotFiniteError(ValueError):
    """A number that JSON cannot carry, which is a wrong parameter rather than a broken frame."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a frame: bytes `start` to `end` count from the frame's first byte."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What a header says: its tensors in the header's order, the parameters as JSON text, the frame's size."""

    tensors: tuple[Entry, ...]
    params: str
    total: int


def write(tensors: Iterable[tuple[str, Dtype, tuple[int, ...]]], params: str) -> tuple[bytes, int]:
    """Return the header with its length in front, padded, and the bytes of data that have to follow it.

    `tensors` are in storage order; `params` is the JSON text of an object, or empty.
    """
    metadata: dict[str, str] = {}
    header: dict[str, Any] = {_METADATA: metadata}
    offset, complexes = 0, []
    for name, dtype, shape in tensors:
        _check_name(name, InvalidShapeError)
        end = offset + math.prod(shape) * dtype.size
        stored = shape
        if dtype.word == COMPLEX128:
            complexes.append(name)
            stored = (*shape, 2)
        if len(stored) > RANK_LIMIT:
            problem = f"tensor '{name}' is stored with {len(stored)} dimensions; allowed: at most {RANK_LIMIT}"
            raise InvalidShapeError(problem)
        header[name] = {"dtype": dtype.stored, "shape": stored, "data_offsets": (offset, end)}
        offset = end
    if len(header) - 1 > TENSOR_LIMIT:
        raise InvalidShapeError(f"frame has {len(header) - 1} tensors; allowed: 0 to {TENSOR_LIMIT}")
    if params:
        metadata["params"] = params
    if complexes:
        metadata["complex"] = json.dumps(complexes, separators=(",", ":"), ensure_ascii=False)
    if not metadata:
        del header[_METADATA]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(PREFIX + len(text)) % ALIGNMENT)
    if len(text) > HEADER_LIMIT:
        raise InvalidParameterError(f"header is {len(text)} bytes; allowed: {HEADER_LIMIT}, parameters included")
    return len(text).to_bytes(PREFIX, "little") + text, offset


def header_end(buffer: bytes | memoryview) -> int:
    """Return where a frame's data starts, checking the length field against the limit and the buffer."""
    size = len(buffer)
    if size < PREFIX:
        raise InvalidFrameError(f"frame is {size} bytes; allowed: at least {PREFIX}")
    length = int.from_bytes(buffer[:PREFIX], "little")
    if length > HEADER_LIMIT:
        raise InvalidFrameError(f"header is {length} bytes; allowed: {HEADER_LIMIT}")
    if length > size - PREFIX:
        raise InvalidFrameError(f"header is {length} bytes; the frame has {size - PREFIX} left")
    if (PREFIX + length) % ALIGNMENT:
        raise InvalidFrameError(f"header is {length} bytes; allowed: multiples of {ALIGNMENT}")
    return PREFIX + length


def read(header: bytes, size: int) -> Layout:
    """Check a header (the length field in front included) of a frame of `size` bytes and say what is where.

    Raises `InvalidFrameError`, or `InvalidParameterError` when a parameter is not finite, whatever the bytes are.
    """
    if header[PREFIX : PREFIX + 1] != b"{":
        raise InvalidFrameError("header does not start with '{'")
    try:
        document = _object(header[PREFIX:].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidFrameError(f"header is no UTF-8: {error.reason} at byte {error.start}") from error
    except _NotFiniteError as error:
        raise InvalidFrameError(f"header has a number that is {error}") from error
    metadata = document.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InvalidFrameError(f"{_METADATA} is no object of strings")
    if len(document) > TENSOR_LIMIT:
        raise InvalidFrameError(f"frame has {len(document)} tensors; allowed: 0 to {TENSOR_LIMIT}")
    complexes = _complexes(metadata.get("complex"), document)
    entries = tuple(_entry(name, row, name in complexes, len(header)) for name, row in document.items())
    _check_tiling(entries, len(header), size)
    params = metadata.get("params", "")
    if "params" in metadata:
        parse_params(params)
    return Layout(entries, params, size)


def parse_params(text: str) -> dict[str, Any]:
    """Parse the JSON text of a frame's parameters.

    Raises `InvalidParameterError` when a number is not finite, `InvalidFrameError` for anything else.
    """
    try:
        return _object(text)
    except _NotFiniteError as error:
        raise InvalidParameterError(f"a parameter is {error}; allowed: finite numbers") from error


def _object(text: str) -> dict[str, Any]:
    value = _parse(text)
    if not isinstance(value, dict):
        raise InvalidFrameError(f"JSON is {type(value).__name__}; allowed: an object")
    return value


def _parse(text: str) -> object:
    """Parse JSON as strictly as every engine does: no duplicate keys, no lone surrogates, finite numbers."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
        if "\\u" in text:
            # An escaped lone surrogate is accepted by this parser only.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _NotFiniteError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidFrameError(f"no valid JSON: {error}") from error
    return value


def _entry(name: str, row: object, is_complex: bool, data_start: int) -> Entry:
    _check_name(name, InvalidFrameError)
    if not isinstance(row, dict) or row.keys() != _FIELDS:
        raise InvalidFrameError(f"tensor '{name}' needs exactly: {', '.join(sorted(_FIELDS))}")
    word, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(word, str) or word not in DTYPES or word == COMPLEX128:
        raise InvalidFrameError(f"tensor '{name}' has dtype {word!r}; allowed: {', '.join(sorted(_STORED))}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InvalidFrameError(f"tensor '{name}' has no valid shape and offsets")
    dtype = DTYPES[word]
    if len(shape) > RANK_LIMIT:
        raise InvalidFrameError(f"tensor '{name}' has {len(shape)} dimensions; allowed: at most {RANK_LIMIT}")
    # Zeros are left out: NumPy cannot view a tensor whose other dimensions overflow, though it has no bytes.
    if dtype.size * math.prod(filter(None, shape)) > _SIZE_LIMIT:
        raise InvalidFrameError(f"tensor '{name}' is larger than any frame")
    size = dtype.size * math.prod(shape)
    if size != offsets[1] - offsets[0]:
        raise InvalidFrameError(f"tensor '{name}' needs {size} bytes; its offsets hold {offsets[1] - offsets[0]}")
    if is_complex:
        if word != DTYPES[COMPLEX128].stored or not shape or shape[-1] != 2:
            raise InvalidFrameError(
                f"complex tensor '{name}' is {word}{shape}; allowed: F64 with a last dimension of 2"
            )
        dtype, shape = DTYPES[COMPLEX128], shape[:-1]
    return Entry(name, dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _complexes(text: str | None, document: Mapping[str, object]) -> set[str]:
    if text is None:
        return set()
    try:
        names = _parse(text)
    except _NotFiniteError as error:
        raise InvalidFrameError(f"{_METADATA}.complex has a number that is {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) and name in document for name in names):
        raise InvalidFrameError(f"{_METADATA}.complex is no list of tensor names")
    if len(set(names)) != len(names):
        raise InvalidFrameError(f"{_METADATA}.complex names a tensor twice")
    return set(names)


def _check_tiling(entries: tuple[Entry, ...], start: int, size: int) -> None:
    """Check that the tensors fill the data without holes and overlaps, in whatever order they are listed."""
    position = start
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise InvalidFrameError(f"tensor '{entry.name}' starts at {entry.start - start}, not {position - start}")
        position = entry.end
    if position != size:
        raise InvalidFrameError(f"frame is {size} bytes; its tensors end at {position}")


def _check_name(name: str, error: type[InvalidFrameError | InvalidShapeError]) -> None:
    try:
        valid = isinstance(name, str) and 1 <= len(name.encode("utf-8")) <= NAME_LIMIT and name != _METADATA
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise error(f"tensor name {name!r:.80}; allowed: 1 to {NAME_LIMIT} bytes of UTF-8")


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= _SIZE_LIMIT for item in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key appears twice")
    return document


def _refuse_constant(word: str) -> NoReturn:
    raise _NotFiniteError(word)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotFiniteError(text[:80])
    return value


def _integer(text: str) -> int | float:
    # JSON's -0 is a floating-point number to the other engines: no dimension, but a valid parameter.
    return -0.0 if text == "-0" else int(text)


_STORED = DTYPES.keys() - {COMPLEX128}
