"""The folder of a model's compiled forms: what lies in it is used only if it is what was written.

OpenVINO notices a file that is cut or is none of its own, but takes one whose weights have changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIST: Final = "seal.json"
LOCK: Final = "lock"
BLOBS: Final = "*.blob"
CHUNK: Final = 1 << 20


@contextmanager
def sealed(folder: Path) -> Iterator[None]:
    """Hold a folder, without what is not as it was written, and vouch for what is there when the block has ended well.

    One process holds it at a time. Raises `OSError` when it cannot be used.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _list(folder)
        for name, checksum in _sums(folder).items():
            if known.get(name) != checksum:
                (folder / name).unlink()
        yield
        now = _sums(folder)
        if now != known:
            # Whole or not at all, whenever this process ends.
            partial = folder / f".{LIST}.{os.getpid()}"
            partial.write_text(json.dumps(now))
            partial.replace(folder / LIST)


def clear(folder: Path) -> None:
    """Throw out every compiled form."""
    for path in folder.glob(BLOBS):
        path.unlink()


def _list(folder: Path) -> dict[str, str]:
    """Return what was vouched for; a list that is absent or unreadable vouches for nothing."""
    try:
        known = json.loads((folder / LIST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _sums(folder: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(folder.glob(BLOBS)):
        size = checksum = 0
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                checksum = zlib.crc32(chunk, checksum)
        sums[path.name] = f"{size}-{checksum:08x}"
    return sums
