"""The writing side: this process's own arena, made when the first large frame wants a slot.

A frame for which there is no room goes another way; nothing here waits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from npufleet.payload import layout
from npufleet.payload.slots import SlotFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from npufleet.payload.slots import Slot

_log = logging.getLogger(__name__)

RETRY_S: Final = 10.0
"""How long to do without an arena that could not be made before it is tried again."""

LOOKED_AT: Final = 8
"""Loans that are looked at whenever another one is given: readers are mostly done in the order of the replies."""


class Lent:
    """A reply's frame on its way: until when it may be taken, and whose arena shows that its reader lives."""

    __slots__ = ("reader", "slot", "until", "withdrawn")

    def __init__(self, slot: Slot, until: float, reader: bytes) -> None:
        self.slot = slot
        self.until = until
        self.reader = reader
        self.withdrawn = False

    def is_over(self, file: SlotFile, now: float, alive: Callable[[bytes], bool]) -> bool:
        """Whether the slot is free again; it is freed when its reader is done, late or dead."""
        slot, generation = self.slot, self.slot.claim.generation
        if not self.withdrawn and slot.place.generation != generation:
            return True
        if file.receiver(slot) != 2 * generation + 1 and alive(self.reader):
            if self.withdrawn or now < self.until:
                return False
            self.withdrawn = True
            if file.withdraw(slot):
                return False
        if self.withdrawn:
            file.reuse(slot)
        else:
            slot.free()
        return True


class Arena:
    """The frames that this process lends to others of its user; calls may come from several threads."""

    def __init__(self, path: Path | None, limit: int = layout.LIMIT) -> None:
        """`path` is the folder of the arenas, None when there are none; the file grows to `limit` bytes at most."""
        self._folder = path
        self._limit = limit
        self._file: SlotFile | None = None
        self._loans: deque[Lent] = deque()
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._closed = False
        _ARENAS.add(self)

    @property
    def identity(self) -> bytes | None:
        """The id of the file, once it is made."""
        return None if self._file is None else self._file.identity

    @property
    def slots_used(self) -> int:
        """How many slots hold a frame."""
        return 0 if self._file is None else self._file.slots_used

    @property
    def bytes_used(self) -> int:
        """The capacity of the slots that hold a frame, in bytes."""
        return 0 if self._file is None else self._file.bytes_used

    def prepare(self) -> bytes | None:
        """Make the file if need be and return its id; None when there can be none."""
        file = self._file or self._open()
        return None if file is None else file.identity

    def put(self, parts: Sequence[Any]) -> Slot | None:
        """Write a frame, which may come as several contiguous buffers, into a slot; None when there is no room."""
        file = self._file or self._open()
        return None if file is None else file.put(parts, sum(memoryview(part).nbytes for part in parts))

    def lend(self, parts: Sequence[Any], until: float, reader: bytes, alive: Callable[[bytes], bool]) -> Slot | None:
        """Write a reply's frame, whose reader gives the slot back; None when there is no room.

        `until` is when the lease ends, in unix seconds, `reader` the id of the reader's own arena, and `alive` says
        whether the process of an arena lives.
        """
        self.sweep(alive, LOOKED_AT)
        slot = self.put(parts)
        if slot is None and self._loans:
            self.sweep(alive)
            slot = self.put(parts)
        if slot is not None:
            with self._lock:
                self._loans.append(Lent(slot, until, reader))
        return slot

    def sweep(self, alive: Callable[[bytes], bool], most: int | None = None) -> None:
        """Take back what is released, late, or a dead reader's, among all loans or the `most` oldest."""
        with self._lock:
            if self._file is None:
                return
            now = time.time()
            count = len(self._loans)
            for _ in range(count if most is None else min(most, count)):
                loan = self._loans.popleft()
                if not loan.is_over(self._file, now, alive):
                    self._loans.append(loan)

    def close(self) -> None:
        """Remove the file; what was lent is lost to those who have not begun to read it."""
        with self._lock:
            self._closed = True
            file, self._file = self._file, None
            self._loans.clear()
        if file is not None:
            file.close()

    def forked(self) -> None:
        """Begin anew, in a child: the parent's frames are not ours, and its lock must end with the parent."""
        file, self._file = self._file, None
        self._loans = deque()
        self._lock = threading.Lock()
        if file is not None:
            file.abandon()

    def _open(self) -> SlotFile | None:
        with self._lock:
            now = time.monotonic()
            if self._file is None and self._folder is not None and not self._closed and now >= self._not_before:
                try:
                    self._file = SlotFile.make(self._folder, self._limit)
                except OSError as error:
                    self._not_before = now + RETRY_S
                    _log.info("no arena in %s, so large frames go another way: %s", self._folder, error)
            return self._file


_ARENAS: Final[weakref.WeakSet[Arena]] = weakref.WeakSet()


def _forked() -> None:
    for arena in list(_ARENAS):
        arena.forked()


os.register_at_fork(after_in_child=_forked)
