"""The reading side: frames that other processes of this user put into their arenas.

Nothing is mapped: a frame is read into memory of our own, so that a file that is cut short under our feet is a short
read and no signal. Claims are untrusted, and so is whatever the files say.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidFrameError, PayloadLostError
from npufleet.payload import folder, layout
from npufleet.payload.layout import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from npufleet.wire.claim import Claim

OPEN_LIMIT: Final = 64
"""Arenas that are kept open; more are opened again when they are needed."""

ABSENT_S: Final = 1.0
"""How long an arena that is not here is not looked for again: each request of another host names one."""

ABSENT_LIMIT: Final = 1024
"""Arenas that are remembered as not here."""


class ElsewhereError(PayloadLostError):
    """The claim's arena is not within reach of this process: the frame has to come another way."""


class Peer:
    """Another process's arena, open as long as somebody uses this object."""

    def __init__(self, path: Path, descriptor: int, identity: bytes) -> None:
        self.path = path
        self.descriptor = descriptor
        self.identity = identity

    def __del__(self) -> None:
        # Not before the last reader has let go: the number would soon be another file's.
        os.close(self.descriptor)

    def is_alive(self) -> bool:
        """Whether its owner lives, also when somebody removed its file."""
        return folder.has_owner(self.descriptor)

    def write_receiver(self, slot: int, value: int) -> None:
        """Say what became of a slot's frame."""
        os.pwrite(self.descriptor, layout.word(value & (2**64 - 1)), layout.receiver_at(slot))


class Peers:
    """The arenas of others, opened when a claim names them; may be used by several threads."""

    def __init__(self, path: Path | None) -> None:
        self._folder = path
        self._open: OrderedDict[bytes, Peer] = OrderedDict()
        self._absent: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def find(self, identity: bytes) -> Peer | None:
        """Return an arena by its id; None when it is not here, or was not a moment ago."""
        with self._lock:
            peer = self._open.get(identity)
            if peer is not None:
                self._open.move_to_end(identity)
                return peer
            since = self._absent.get(identity)
        now = time.monotonic()
        if since is not None and now - since < ABSENT_S:
            return None
        peer = self._look(identity)
        with self._lock:
            if peer is not None:
                self._absent.pop(identity, None)
                self._open[identity] = peer
                if len(self._open) > OPEN_LIMIT:
                    self._open.popitem(last=False)
            elif self._folder is not None and not (self._folder / identity.hex()).exists():
                # One that is there and cannot be opened, for want of descriptors, is not absent.
                if len(self._absent) >= ABSENT_LIMIT:
                    self._absent.clear()
                self._absent[identity] = now
        return peer

    def is_alive(self, identity: bytes) -> bool:
        """Whether an arena is here and its owner lives."""
        peer = self.find(identity)
        return peer is not None and peer.is_alive()

    def sweep(self) -> bool:
        """Let go of the arenas whose owner is dead, so that their memory is free; whether there were any."""
        with self._lock:
            known = list(self._open.values())
        dead = [peer for peer in known if not peer.is_alive()]
        for peer in dead:
            with self._lock:
                self._open.pop(peer.identity, None)
            if os.fstat(peer.descriptor).st_nlink:
                peer.path.unlink(missing_ok=True)
        return bool(dead)

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """Let go of all arenas."""
        with self._lock:
            self._open.clear()

    def read(self, claim: Claim) -> bytes:
        """Return a request's frame; raises `ElsewhereError`, `PayloadLostError` or `InvalidFrameError`."""
        peer, entry = self._entry(claim)
        return _read(peer, entry, claim)

    def take(self, claim: Claim) -> bytes:
        """Return a reply's frame and give its slot back, in any case; raises what `read` raises."""
        peer, entry = self._entry(claim)
        if entry.generation != claim.generation:
            # The slot may be another caller's by now: no word of ours any more.
            raise _lost(claim)
        peer.write_receiver(claim.slot, 2 * claim.generation)
        try:
            # Only now: an owner that ends the lease looks for our word after it has written another generation.
            return _read(peer, entry, claim)
        finally:
            peer.write_receiver(claim.slot, 2 * claim.generation + 1)

    def release(self, claim: Claim) -> None:
        """Give the slot of a reply back that nobody waits for; a bad claim is nothing to release."""
        try:
            peer, entry = self._entry(claim)
        except (PayloadLostError, InvalidFrameError):
            return
        if entry.generation == claim.generation:
            peer.write_receiver(claim.slot, 2 * claim.generation + 1)

    def _entry(self, claim: Claim) -> tuple[Peer, Entry]:
        peer = self.find(claim.arena)
        if peer is None:
            raise ElsewhereError(f"the arena {claim.arena.hex()} is not within reach")
        if claim.slot >= layout.SLOTS:
            raise InvalidFrameError(f"claim has slot {claim.slot}; allowed: 0 to {layout.SLOTS - 1}")
        content = os.pread(peer.descriptor, layout.ENTRY_BYTES, layout.entry_at(claim.slot))
        if len(content) != layout.ENTRY_BYTES:
            raise ElsewhereError(f"the arena {claim.arena.hex()} was cut short")
        entry = Entry.decode(content)
        if not entry.is_valid():
            raise InvalidFrameError(f"slot {claim.slot} of the arena {claim.arena.hex()} is none")
        if claim.length > entry.capacity:
            raise InvalidFrameError(f"claim has length {claim.length}; allowed: 0 to {entry.capacity}")
        if entry.start + claim.length > os.fstat(peer.descriptor).st_size:
            raise PayloadLostError(f"the frame in slot {claim.slot} is not in its arena any more")
        return peer, entry

    def _look(self, identity: bytes) -> Peer | None:
        if self._folder is None:
            return None
        path = self._folder / identity.hex()
        descriptor = folder.open_arena(path)
        if descriptor is None:
            return None
        peer = Peer(path, descriptor, identity)
        is_arena = layout.identity_of(os.pread(descriptor, layout.HEADER_BYTES, 0)) == identity
        return peer if is_arena and os.fstat(descriptor).st_size >= layout.DATA_AT else None


def _read(peer: Peer, entry: Entry, claim: Claim) -> bytes:
    if claim.generation and _generation(peer, claim) == claim.generation:
        frame = os.pread(peer.descriptor, claim.length, entry.start)
        if len(frame) == claim.length and _generation(peer, claim) == claim.generation:
            return frame
    raise _lost(claim)


def _lost(claim: Claim) -> PayloadLostError:
    return PayloadLostError(f"the frame in slot {claim.slot} was taken back or its slot is used again")


def _generation(peer: Peer, claim: Claim) -> int:
    return layout.word_of(os.pread(peer.descriptor, layout.WORD_BYTES, layout.generation_at(claim.slot)))
