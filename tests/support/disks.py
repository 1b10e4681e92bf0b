"""Disks for brokers: one that is soon full, and one whose power can be cut. Both need the right to mount."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def _mount(*words: str | Path) -> str | None:
    """Mount something; returns why that is not possible, or None."""
    try:
        done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or f"mount ended with {done.returncode}"


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of that size; skips the test, with the reason, where nothing may be mounted."""
    with tempfile.TemporaryDirectory(prefix="npufleet-disk-") as folder:
        path = Path(folder, "disk")
        path.mkdir()
        if why := _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path):
            pytest.skip(f"no file system can be mounted: {why}")
        try:
            yield path
        finally:
            _unmount(path)


class PowerDisk:
    """An ext4 file system in a file: what is in that file is what a power cut leaves.

    What a program has written and not synchronised is in the page cache of the file system and not in the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._image = folder / "image"
        self._mounted: list[Path] = []
        with self._image.open("wb") as image:
            image.truncate(256 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", str(self._image)], check=True)
        self.path = self._mount(self._image)

    def settle(self) -> None:
        """Write back everything so far."""
        subprocess.run(["sync", "--file-system", str(self.path)], check=True)

    def cut_power(self) -> Path:
        """Return the file system as a machine finds it that lost its power now; the first one goes on."""
        left = self._folder / "left"
        shutil.copyfile(self._image, left)
        return self._mount(left)

    def _mount(self, image: Path) -> Path:
        path = self._folder / f"{image.name}.mounted"
        path.mkdir()
        # Writing back late, as a machine may: within `commit` seconds nothing is on the disk that nobody asked for.
        if why := _mount("-o", "loop,commit=300", image, path):
            pytest.skip(f"no file system can be mounted: {why}")
        self._mounted.append(path)
        return path

    def close(self) -> None:
        for path in reversed(self._mounted):
            _unmount(path)


@contextlib.contextmanager
def power_disk() -> Iterator[PowerDisk]:
    """A disk whose power can be cut; skips the test, with the reason, where nothing may be mounted."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not here")
    folder = Path(tempfile.mkdtemp(prefix="npufleet-disk-"))
    disk = None
    try:
        disk = PowerDisk(folder)
        yield disk
    finally:
        if disk is not None:
            disk.close()
        shutil.rmtree(folder, ignore_errors=True)
