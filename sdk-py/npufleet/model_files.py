"""A model's files on their way to the registry: what format they are, their size and their sha256."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from npufleet.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int, int], None]
    """Called with the bytes sent so far and the bytes in all."""

Format = Literal["onnx", "ir"]

FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# ModelProto's fields; 7 is the graph, which no model lacks.
_ONNX_FIELDS: Final = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26))
_ONNX_GRAPH: Final = 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_IR_START: Final = re.compile(rb"\s*(<\?xml[^>]*\?>)?\s*(<!--.*?-->\s*)*<net\s", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One local file and the name it gets in the registry."""

    name: str
    path: Path
    size: int


def find(path: str | Path) -> tuple[Format, list[ModelFile]]:
    """Say what format the model at `path` has, by its content, and which files belong to it.

    An OpenVINO IR is the `.xml`, with its weights beside it as `.bin`. Raises `InvalidParameterError`.
    """
    path = Path(path)
    try:
        return _find(path)
    except OSError as error:
        raise InvalidParameterError(f"path is '{path}'; {error.strerror or error}") from error


def _find(path: Path) -> tuple[Format, list[ModelFile]]:
    with path.open("rb") as file:
        start = file.read(4096)
        if _IR_START.match(start):
            weights = path.with_suffix(".bin")
            if not weights.is_file():
                raise InvalidParameterError(f"path is '{path}', an OpenVINO IR; its weights '{weights}' are missing")
            return "ir", [_file("model.xml", path), _file("model.bin", weights)]
        if _is_onnx(file):
            return "onnx", [_file("model.onnx", path)]
    raise InvalidParameterError(f"path is '{path}', neither ONNX nor OpenVINO IR by its content")


def _file(name: str, path: Path) -> ModelFile:
    return ModelFile(name, path, path.stat().st_size)


def _is_onnx(file: io.BufferedReader) -> bool:
    """Walk the top-level protobuf fields; nothing of the graph itself is read."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    fields = set()
    while file.tell() < end:
        tag = _varint(file)
        if tag is None or tag >> 3 not in _ONNX_FIELDS:
            return False
        fields.add(tag >> 3)
        skipped = {_VARINT: 0, _FIXED64: 8, _FIXED32: 4, _BYTES: None}.get(tag & 7, -1)
        if tag & 7 in (_VARINT, _BYTES):
            number = _varint(file)
            if number is None:
                return False
            skipped = number if tag & 7 == _BYTES else 0
        if skipped is None or skipped < 0 or file.tell() + skipped > end:
            return False
        file.seek(skipped, io.SEEK_CUR)
    return _ONNX_GRAPH in fields


def _varint(file: io.BufferedReader) -> int | None:
    number = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return number
    return None


class Upload(io.BufferedIOBase):
    """A file being read for the object store: hashes what really goes out, and says how much that is."""

    def __init__(self, file: ModelFile, done: Progress | None, before: int, total: int) -> None:
        self._file = file.path.open("rb")
        self._hash = hashlib.sha256()
        self._done = done
        self._before = before
        self._total = total
        self.size = 0

    def readable(self) -> bool:
        """Whether this can be read: always."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # what the store passes
        """Read the next part into `buffer` and return its size."""
        count = self._file.readinto(buffer)
        self._hash.update(memoryview(buffer)[:count])
        self.size += count
        if self._done is not None:
            self._done(self._before + self.size, self._total)
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    @property
    def sha256(self) -> str:
        """Digest of what was read so far, in hex."""
        return self._hash.hexdigest()
