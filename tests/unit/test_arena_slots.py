"""This process's own arena: when it is made, and the slots that it puts frames into."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet.errors import PayloadLostError
from npufleet.payload import folder as folders
from npufleet.payload.arena import Arena
from npufleet.payload.peers import Peers

if TYPE_CHECKING:
    from pathlib import Path

FRAME = os.urandom(10_000)


def test_it_is_made_with_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / f"npufleet-{os.getuid()}"
    arena = Arena(path)
    assert (arena.identity, arena.slots_used, path.exists()) == (None, 0, False)
    slot = arena.put([FRAME])
    assert slot is not None
    assert arena.identity is not None
    file = path / arena.identity.hex()
    assert (path.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert (arena.slots_used, arena.bytes_used) == (1, 16384)
    slot.free()
    assert (arena.slots_used, arena.bytes_used) == (0, 0)
    arena.close()
    assert not file.exists()
    assert arena.put([FRAME]) is None


def test_a_frame_in_parts_is_read_whole(arena: Arena, folder: Path) -> None:
    array = np.arange(5000.0).reshape(50, 100)
    slot = arena.put([b"head", array, memoryview(b"tail")])
    assert slot is not None
    assert Peers(folder).read(slot.claim) == b"head" + array.tobytes() + b"tail"


def test_a_freed_frame_is_lost_and_its_slot_used_again(arena: Arena, folder: Path) -> None:
    first = arena.put([FRAME])
    assert first is not None
    first.free()
    with pytest.raises(PayloadLostError):
        Peers(folder).read(first.claim)
    second = arena.put([FRAME[::-1]])
    assert second is not None
    first.free()
    assert second.claim.slot == first.claim.slot
    assert second.claim.generation > first.claim.generation
    assert Peers(folder).read(second.claim) == FRAME[::-1]
    with pytest.raises(PayloadLostError):
        Peers(folder).read(first.claim)


def test_threads_share_it(arena: Arena, folder: Path) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        reader, frame = Peers(folder), bytes([number]) * 20_000
        for _ in range(100):
            slot = arena.put([frame])
            if slot is None or reader.read(slot.claim) != frame:
                wrong.append(number)
            else:
                slot.free()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert arena.slots_used == 0


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(tmp_path))
    assert folders.folder() == tmp_path / f"npufleet-{os.getuid()}"
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", "off")
    assert folders.folder() is None
    assert Arena(folders.folder()).put([FRAME]) is None
    monkeypatch.delenv("NPUFLEET_ARENA_DIR")
    assert str(folders.folder()) == f"/dev/shm/npufleet-{os.getuid()}"
