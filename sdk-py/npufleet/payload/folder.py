"""Where the arenas of this user lie, and how those of dead processes go."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from pathlib import Path
from typing import Final

VARIABLE: Final = "NPUFLEET_ARENA_DIR"
DEFAULT: Final = "/dev/shm"  # noqa: S108 - the folder inside of it is ours alone
OFF: Final = "off"
BEING_MADE_S: Final = 60.0
"""An arena that is empty for longer is nobody's; before, its owner may be about to lock it."""

_NAME: Final = re.compile("[0-9a-f]{32}")
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def folder() -> Path | None:
    """Return the folder of this user's arenas, there or not; None when arenas are off."""
    chosen = os.environ.get(VARIABLE) or DEFAULT
    return None if chosen == OFF else Path(chosen) / f"npufleet-{os.getuid()}"


def make(path: Path) -> None:
    """See to it that the folder is there; raises OSError when it cannot be, or others could look into it."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        check(path)
    else:
        path.chmod(0o700)  # whatever the umask is


def check(path: Path) -> None:
    """Raise OSError unless this is a folder of ours alone: anybody may have made it first."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{path} is not a folder of this user alone (mode 0700)")


def open_arena(path: Path) -> int | None:
    """Open an arena's file for its words and frames; None when it is not there or not a file of ours alone."""
    try:
        check(path.parent)
        descriptor = os.open(path, _OPEN)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077:
        return descriptor
    os.close(descriptor)
    return None


def has_owner(descriptor: int) -> bool:
    """Whether the process that made an arena lives: it holds the lock until then."""
    try:
        # Shared, so that several may ask at once.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def clean(path: Path | None = None) -> list[tuple[str, int]]:
    """Remove the arenas whose owner is dead, and return the name and the bytes in memory of each."""
    path = path or folder()
    removed: list[tuple[str, int]] = []
    if path is None:
        return removed
    try:
        check(path)
        files = sorted(path.iterdir())
    except OSError:
        return removed
    for file in files:
        if _NAME.fullmatch(file.name):
            size = _remove_if_dead(file)
            if size is not None:
                removed.append((file.name, size))
    return removed


def _remove_if_dead(path: Path) -> int | None:
    descriptor = open_arena(path)
    if descriptor is None:
        return None
    try:
        found = os.fstat(descriptor)
        if found.st_size == 0 and time.time() - found.st_mtime < BEING_MADE_S:
            return None
        if has_owner(descriptor):
            return None
        path.unlink()
    except OSError:
        return None  # somebody else was quicker
    finally:
        os.close(descriptor)
    return found.st_blocks * 512
