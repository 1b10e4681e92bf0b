"""An arena's file as its owner holds it: the lock, the table, and which slots are free.

Frames and words are written with `pwrite`, so that a file system that is full is an error that means "no room", and no
signal.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import threading
from typing import TYPE_CHECKING, Any, Final

from npufleet.payload import folder, layout
from npufleet.payload.layout import Entry
from npufleet.wire.claim import Claim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)

ATTEMPTS: Final = 5


class Place:
    """One slot of the table, with the generation that is in the file."""

    __slots__ = ("capacity", "generation", "number", "start")

    def __init__(self, number: int, start: int, capacity: int) -> None:
        self.number = number
        self.start = start
        self.capacity = capacity
        self.generation = 0


class Slot:
    """One frame in a slot, until it is freed."""

    __slots__ = ("_file", "claim", "place")

    def __init__(self, file: SlotFile, place: Place, length: int) -> None:
        self._file = file
        self.place = place
        self.claim = Claim(file.identity, place.number, place.generation, length)

    def free(self) -> None:
        """Take the frame back, whoever reads it; may be repeated, and does nothing in a child that was forked."""
        self._file.free(self)


class SlotFile:
    """The file of one arena; calls come from several threads."""

    def __init__(self, path: Path, descriptor: int, identity: bytes, limit: int) -> None:
        self.identity = identity
        self._path = path
        self._descriptor = descriptor
        self._limit = limit
        self._end = layout.DATA_AT
        self._count = 0
        self._free: dict[int, list[Place]] = {}
        self._used: dict[int, Place] = {}
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def make(cls, path: Path, limit: int) -> SlotFile:
        """Make a new arena in a folder, and remove those of the dead; raises OSError when there can be none."""
        folder.make(path)
        folder.clean(path)
        for _ in range(ATTEMPTS):
            identity = secrets.token_bytes(layout.ID_BYTES)
            file = path / identity.hex()
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.fchmod(descriptor, 0o600)  # whatever the umask is
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Without its lock it looked dead for a moment, and somebody may just have cleaned up.
                if os.fstat(descriptor).st_nlink:
                    os.ftruncate(descriptor, layout.DATA_AT)
                    _write(descriptor, [layout.header(identity, limit)], layout.HEADER_BYTES, 0)
                    return cls(file, descriptor, identity, limit)
            except BaseException:
                file.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise OSError(errno.EAGAIN, f"every new file in {path} was removed at once")

    def __del__(self) -> None:
        # Not before the last thread that writes has let go: the number would soon be another file's.
        if self._descriptor >= 0:
            os.close(self._descriptor)

    @property
    def slots_used(self) -> int:
        """How many slots hold a frame."""
        return len(self._used)

    @property
    def bytes_used(self) -> int:
        """The capacity of the slots that hold a frame, in bytes."""
        with self._lock:
            return sum(place.capacity for place in self._used.values())

    def put(self, parts: Sequence[Any], length: int) -> Slot | None:
        """Write a frame into a free slot; None when there is no room."""
        capacity = layout.capacity_for(length)
        if capacity is None:
            return None
        with self._lock:
            place = None if self._closed else self._find(capacity)
            if place is None:
                return None
            self._used[place.number] = place
        try:
            _write(self._descriptor, parts, length, place.start)
            self._next_generation(place)
        except OSError as error:
            _log.debug("no room in the arena %s: %s", self._path, error)
            self._give_up(place)
            return None
        return Slot(self, place, length)

    def free(self, slot: Slot) -> None:
        """Take a frame back, unless that has happened."""
        with self._lock:
            if not self._closed and slot.place.generation == slot.claim.generation:
                self._next_generation(slot.place)
                self._release(slot.place)

    def receiver(self, slot: Slot) -> int:
        """Return what the reader of a slot has written last."""
        at = layout.receiver_at(slot.place.number)
        return layout.word_of(os.pread(self._descriptor, layout.WORD_BYTES, at))

    def withdraw(self, slot: Slot) -> bool:
        """End a lease: nobody can take the frame from now on; returns whether somebody had taken it before."""
        self._next_generation(slot.place)
        return self.receiver(slot) == 2 * slot.claim.generation

    def reuse(self, slot: Slot) -> None:
        """Free a slot whose frame was withdrawn."""
        with self._lock:
            self._release(slot.place)

    def close(self) -> None:
        """Remove the file; a reader that is at it may finish, and nobody finds it any more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with contextlib.suppress(OSError):
                    self._path.unlink()
                # Also while a slot of it is still known somewhere: what was lent to us is ours no more.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def abandon(self) -> None:
        """Let go of the parent's file at once, in a child: it must not keep the lock."""
        self._lock = threading.Lock()
        self._closed = True
        os.close(self._descriptor)
        self._descriptor = -1

    def _release(self, place: Place) -> None:
        if self._used.pop(place.number, None) is not None:
            self._free.setdefault(place.capacity, []).append(place)

    def _give_up(self, place: Place) -> None:
        with self._lock:
            if place.start + place.capacity == self._end and not self._closed:
                # What was written before the file system was full would keep it full.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, place.start)
                    os.ftruncate(self._descriptor, self._end)
            self._release(place)

    def _find(self, capacity: int) -> Place | None:
        exact = self._free.get(capacity)
        if exact:
            return exact.pop()
        grown = self._grow(capacity)
        if grown is not None:
            return grown
        larger = (places for size, places in sorted(self._free.items()) if size > capacity and places)
        return next((places.pop() for places in larger), None)

    def _grow(self, capacity: int) -> Place | None:
        end = self._end + capacity
        if self._count >= layout.SLOTS or end > self._limit:
            return None
        place = Place(self._count, self._end, capacity)
        entry = Entry(place.start, capacity, 0, 0).encode()
        try:
            os.ftruncate(self._descriptor, end)
            _write(self._descriptor, [entry], len(entry), layout.entry_at(place.number))
        except OSError as error:
            _log.debug("the arena %s cannot grow: %s", self._path, error)
            return None
        self._count += 1
        self._end = end
        return place

    def _next_generation(self, place: Place) -> None:
        word = layout.word(place.generation + 1)
        _write(self._descriptor, [word], len(word), layout.generation_at(place.number))
        place.generation += 1


def _write(descriptor: int, parts: Sequence[Any], length: int, start: int) -> None:
    written = os.pwritev(descriptor, parts, start)
    if written < length:
        # The rest once more and alone: this time the system says why.
        rest = memoryview(b"".join(parts))[written:]
        while rest:
            count = os.pwrite(descriptor, rest, start + length - len(rest))
            if count == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[count:]
