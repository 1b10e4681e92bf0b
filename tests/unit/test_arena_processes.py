"""Who owns an arena: killed processes, forked children, and who cleans up after them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from npufleet.payload import folder as folders
from npufleet.payload.peers import ElsewhereError, Peers
from npufleet.wire.claim import Claim
from tests.support.broker_stand import source_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from npufleet.payload.arena import Arena

FRAME = os.urandom(10_000)


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
