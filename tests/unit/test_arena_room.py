"""No room for a frame: a full arena, a full file system, no folder, no descriptors."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet.payload.arena import Arena
from npufleet.payload.peers import ElsewhereError, Peers

if TYPE_CHECKING:
    from pathlib import Path

FRAME = os.urandom(10_000)


def test_a_full_arena_has_no_room_and_has_it_again(folder: Path) -> None:
    arena = Arena(folder, limit=528384 + 3 * 16384)
    slots = [arena.put([FRAME]) for _ in range(3)]
    assert all(slots)
    assert arena.put([FRAME]) is None
    slots[1].free()  # type: ignore[union-attr]
    small = arena.put([b"small"])
    assert small is not None, "a larger slot is better than none"
    assert arena.put([FRAME]) is None
    small.free()
    assert arena.put([FRAME]) is not None
    arena.close()


@pytest.mark.parametrize("length", [0, 2**28 + 1])
def test_what_fits_into_no_slot_has_no_room(arena: Arena, length: int) -> None:
    assert arena.put([np.zeros(length, np.uint8)]) is None
    assert arena.slots_used == 0


def test_a_full_file_system_is_no_room(arena: Arena, folder: Path) -> None:
    assert arena.put([FRAME]) is not None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))
    try:
        assert arena.put([bytes(200_000)]) is None
        fits = arena.put([FRAME])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fits is not None
    assert Peers(folder).read(fits.claim) == FRAME
    assert arena.put([bytes(200_000)]) is not None
    assert arena.slots_used == 3


SMALL = """
import subprocess, sys
sys.path[:0] = {path!r}
from pathlib import Path
from npufleet.payload.arena import Arena
from npufleet.payload.peers import Peers
arena = Arena(Path(sys.argv[1], "npufleet-x"))
slots = []
while (slot := arena.put([bytes([len(slots)]) * 300_000])) is not None:
    slots.append(slot)
reader = Peers(Path(sys.argv[1], "npufleet-x"))
assert len(slots) >= 3, len(slots)
assert all(reader.read(s.claim) == bytes([n]) * 300_000 for n, s in enumerate(slots))
slots.pop().free()
assert arena.put([bytes(300_000)]) is not None
print("full at", len(slots) + 1)
"""


def test_a_small_tmpfs_that_is_full_is_no_room(tmp_path: Path) -> None:
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    probe = subprocess.run([*mount, f"mount -t tmpfs -o size=2m x {tmp_path}"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {probe.stderr.decode().strip()}")
    program = tmp_path.parent / "small.py"
    program.write_text(SMALL.format(path=sys.path))
    script = f"mount -t tmpfs -o size=2m x {tmp_path} && exec {sys.executable} {program} {tmp_path}"
    done = subprocess.run([*mount, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("full at")


@pytest.mark.parametrize("where", ["missing/folder", "a-file"])
def test_without_a_folder_there_is_no_arena(tmp_path: Path, where: str) -> None:
    (tmp_path / "a-file").write_text("")
    arena = Arena(tmp_path / where / "npufleet-0")
    assert arena.put([FRAME]) is None
    assert arena.identity is None


def test_without_descriptors_there_is_no_room_and_no_arena(arena: Arena, folder: Path) -> None:
    slot = arena.put([FRAME])
    assert slot is not None
    reader, other = Peers(folder), Arena(folder)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken[0] + 1, 3), before[1]))
    try:
        with pytest.raises(ElsewhereError):
            reader.read(slot.claim)
        assert other.put([FRAME]) is None
        again = arena.put([FRAME])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(taken[0])
    assert again is not None
    assert reader.read(again.claim) == FRAME
