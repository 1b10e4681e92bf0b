"""This process's own arena: slots, loans, what happens when there is no room, and who cleans up after the dead."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet.errors import PayloadLostError
from npufleet.payload import folder as folders
from npufleet.payload.arena import Arena
from npufleet.payload.peers import ElsewhereError, Peers
from npufleet.wire.claim import Claim
from tests.support.arena_stand import folder_in
from tests.support.broker_stand import source_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME = os.urandom(10_000)
READER = bytes(16)


def living(_: bytes) -> bool:
    return True


def dead(_: bytes) -> bool:
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_in(tmp_path)


@pytest.fixture
def arena(folder: Path) -> Iterator[Arena]:
    opened = Arena(folder)
    yield opened
    opened.close()


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


def test_a_lent_frame_comes_back_from_its_reader(arena: Arena, folder: Path) -> None:
    reader = Peers(folder)
    slot = arena.lend([FRAME], time.time() + 60, READER, living)
    assert slot is not None
    arena.sweep(living)
    assert arena.slots_used == 1
    assert reader.take(slot.claim) == FRAME
    arena.sweep(living)
    assert arena.slots_used == 0
    with pytest.raises(PayloadLostError):
        reader.take(slot.claim)


def test_readers_that_are_done_make_room_for_the_next(folder: Path) -> None:
    arena, reader = Arena(folder, limit=528384 + 16384), Peers(folder)
    for _ in range(20):
        slot = arena.lend([FRAME], time.time() + 60, READER, living)
        assert slot is not None
        reader.take(slot.claim)
    arena.close()


def test_a_lease_ends_when_nobody_takes_the_frame(arena: Arena, folder: Path) -> None:
    slot = arena.lend([FRAME], time.time() - 1, READER, living)
    assert slot is not None
    arena.sweep(living)
    assert arena.slots_used == 0
    with pytest.raises(PayloadLostError):
        Peers(folder).take(slot.claim)


def test_a_reader_that_has_the_frame_keeps_it_after_the_lease(arena: Arena, folder: Path) -> None:
    slot = arena.lend([FRAME], time.time() - 1, READER, living)
    assert slot is not None
    peer = Peers(folder).find(slot.claim.arena)
    assert peer is not None
    peer.write_receiver(slot.claim.slot, 2 * slot.claim.generation)
    for _ in range(3):
        arena.sweep(living)
        assert arena.slots_used == 1
    peer.write_receiver(slot.claim.slot, 2 * slot.claim.generation + 1)
    arena.sweep(living)
    assert arena.slots_used == 0


def test_a_dead_reader_keeps_nothing(arena: Arena, folder: Path) -> None:
    for taken in (False, True):
        slot = arena.lend([FRAME], time.time() + 60, READER, living)
        assert slot is not None
        peer = Peers(folder).find(slot.claim.arena)
        assert peer is not None
        if taken:
            peer.write_receiver(slot.claim.slot, 2 * slot.claim.generation)
        arena.sweep(dead)
        assert arena.slots_used == 0
        with pytest.raises(PayloadLostError):
            Peers(folder).read(slot.claim)


def test_a_reply_that_was_not_sent_is_taken_back(arena: Arena) -> None:
    slot = arena.lend([FRAME], time.time() + 60, READER, living)
    assert slot is not None
    slot.free()
    assert arena.slots_used == 0
    other = arena.put([FRAME])
    arena.sweep(dead)
    assert other is not None
    assert arena.slots_used == 1, "the loan that is over must not end what uses the slot now"


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


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(tmp_path))
    assert folders.folder() == tmp_path / f"npufleet-{os.getuid()}"
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", "off")
    assert folders.folder() is None
    assert Arena(folders.folder()).put([FRAME]) is None
    monkeypatch.delenv("NPUFLEET_ARENA_DIR")
    assert str(folders.folder()) == f"/dev/shm/npufleet-{os.getuid()}"


OWNER = """
import sys, time
from pathlib import Path
from npufleet.payload.arena import Arena
arena = Arena(Path(sys.argv[1]))
slot = arena.put([bytes(100_000)])
print(slot.claim, flush=True)
time.sleep(600)
"""


def owner_process(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OWNER, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=source_environment())


def test_the_arena_of_a_killed_process_goes_with_the_next_start(arena: Arena, folder: Path) -> None:
    with owner_process(folder) as process:
        assert process.stdout is not None
        claim = Claim.parse(process.stdout.readline().strip())
        reader = Peers(folder)
        assert reader.read(claim) == bytes(100_000)
        assert folders.clean(folder) == []
        assert reader.is_alive(claim.arena)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not reader.is_alive(claim.arena)
    file = folder / claim.arena.hex()
    assert file.exists()
    (folder / "something-else").write_text("stays")
    assert arena.put([FRAME]) is not None
    assert not file.exists()
    assert (folder / "something-else").exists()
    reader.sweep()
    with pytest.raises(ElsewhereError):
        reader.read(claim)


def test_cleaning_says_what_it_removed(folder: Path) -> None:
    with owner_process(folder) as process:
        assert process.stdout is not None
        name = process.stdout.readline().split(":")[1]
        process.kill()
        process.wait()
    ((removed, size),) = folders.clean(folder)
    assert removed == name
    assert 100_000 <= size <= 300_000
    assert folders.clean(folder) == []


def test_a_child_has_an_arena_of_its_own(arena: Arena, folder: Path) -> None:
    slot = arena.put([FRAME])
    assert slot is not None
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child() -> None:
        slot.free()
        before = arena.identity, arena.slots_used
        own = arena.put([FRAME[::-1]])
        theirs.send((before, None if own is None else str(own.claim)))
        theirs.recv()

    process = context.Process(target=child)
    process.start()
    before, text = ours.recv()
    claim = Claim.parse(text)
    assert before == (None, 0)
    assert claim.arena != arena.identity
    reader = Peers(folder)
    assert reader.read(slot.claim) == FRAME
    assert reader.read(claim) == FRAME[::-1]
    ours.send("done")
    process.join(30)
    assert process.exitcode == 0


FORKING = """
import os, sys, time
from pathlib import Path
from npufleet.payload.arena import Arena
arena = Arena(Path(sys.argv[1]))
arena.put([bytes(100_000)])
child = os.fork()
if child:
    print(arena.identity.hex(), child, flush=True)
time.sleep(600)
"""


def test_a_child_does_not_keep_the_lock_of_its_parent(folder: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=source_environment()) as process:
        assert process.stdout is not None
        name, child = process.stdout.readline().split()
        try:
            assert folders.clean(folder) == []
            process.kill()
            process.wait()
            # The child lets go when it runs for the first time.
            ((removed, _),) = wait_until(lambda: folders.clean(folder), "the lock to be free")
            assert removed == name
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_an_arena_that_is_being_made_is_left_alone(folder: Path) -> None:
    file = folder / ("0" * 32)
    file.touch(0o600)
    assert folders.clean(folder) == []
    os.utime(file, (0, 0))
    assert folders.clean(folder) == [("0" * 32, 0)]


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
