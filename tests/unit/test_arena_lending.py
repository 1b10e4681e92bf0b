"""Frames that are lent with a reply: until they are read, their lease ends, or their reader is dead."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from npufleet.errors import PayloadLostError
from npufleet.payload.arena import Arena
from npufleet.payload.peers import Peers

if TYPE_CHECKING:
    from pathlib import Path

FRAME = os.urandom(10_000)
READER = bytes(16)


def living(_: bytes) -> bool:
    return True


def dead(_: bytes) -> bool:
    return False


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


def test_a_removed_file_ends_nothing_that_is_read(arena: Arena, folder: Path) -> None:
    reader = Peers(folder)
    other = Arena(folder)
    assert other.put([FRAME]) is not None
    assert other.identity is not None
    slot = arena.lend([FRAME], time.time() + 60, other.identity, reader.is_alive)
    assert slot is not None
    assert reader.is_alive(other.identity)
    peer = reader.find(slot.claim.arena)
    assert peer is not None
    peer.write_receiver(slot.claim.slot, 2 * slot.claim.generation)
    for file in folder.iterdir():
        file.unlink()
    arena.sweep(reader.is_alive)
    reader.sweep()
    assert arena.slots_used == 1, "the reader lives"
    assert reader.read(slot.claim) == FRAME, "who has it open reads on"
    other.close()
