"""The temporary folder of one local fleet, and the sweeping of those whose owner was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from npufleet.errors import UnavailableError

PREFIX = "npufleet-local-"


class Folder:
    """A folder that belongs to this process as long as it holds the lock on it.

    Whoever finds one of ours whose lock is free knows that its owner is dead, and removes it.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls) -> Self:
        """Make and lock a new folder that only this user can enter, after sweeping the abandoned ones."""
        sweep()
        while True:
            path = Path(tempfile.mkdtemp(prefix=PREFIX))
            with contextlib.suppress(FileNotFoundError):  # swept by somebody before we could lock it
                lock = _locked(path)
                if lock is not None:
                    return cls(path, lock)

    @classmethod
    def claim(cls, path: Path) -> Self:
        """Lock a folder that the user named, making it when it is missing.

        Raises UnavailableError when another fleet holds it: two servers in one store would ruin it.
        """
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _locked(path)
        if lock is None:
            raise UnavailableError(f"store is {str(path)!r}; another fleet uses it")
        return cls(path, lock)

    def release(self) -> None:
        """Give the lock back and keep the files."""
        os.close(self._lock)

    def remove(self) -> None:
        """Remove the folder with all that is in it, then give the lock back."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep() -> None:
    """Remove this user's folders of local fleets that died without cleaning up."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if path.is_symlink() or path.lstat().st_uid != os.getuid():
                continue
            lock = _locked(path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # its owner, or another sweeper, was faster; or it only has a name like ours
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked(path: Path) -> int | None:
    """Lock a folder without waiting; None when somebody else holds it or it went away meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not path.exists():
        os.close(descriptor)
        return None
    return descriptor
