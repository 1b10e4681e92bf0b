"""Both sides of the arena as one process uses them: what it lends to others of its user and takes from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError
from npufleet.payload import folder, layout
from npufleet.payload.arena import Arena
from npufleet.payload.peers import Peers
from npufleet.payload.remote import Remote
from npufleet.wire import header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npufleet.payload.slots import Slot

SWEEP_S: Final = 1.0
"""How often `sweep` should be called while there is anything to look after."""

CLEAN_EVERY: Final = 3
"""How many sweeps there are to one look at the whole folder."""

AT_ONCE_BYTES: Final = 1 << 20
"""Copying less than this holds up an event loop for less time than it takes to ask a thread."""

HEADER_ROOM: Final = 4096
"""Below what the broker takes by this much, a message cannot be too large whatever its headers are."""

ZEROMQ: Final = "zeromq"
"""The value of `Npu-Placement` for a frame that was fetched over the channel."""

_CHANNEL_BYTES: Final = "NPUFLEET_CHANNEL_BYTES"
_DIGITS: Final = 19

ELSEWHERE: Final = b""
"""The reader of a reply that is fetched over the channel: nothing here shows whether it lives, so the lease ends it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who is to have a result: the reader's own arena, and whether it asks over the channel for what it cannot open."""

    arena: bytes
    has_channel: bool


@dataclass(frozen=True, slots=True)
class Loan:
    """A result that waits for its reader: the slot, and where the reader asks for it that cannot open our arena."""

    slot: Slot
    channel: str | None


class Exchange:
    """The arena of this process and those of others, in the folder that the environment names."""

    def __init__(self, limit: int = layout.LIMIT, broker: str = "") -> None:
        """`broker` is the broker's URL; raises `InvalidParameterError` when `NPUFLEET_CHANNEL_BYTES` is no number."""
        path = folder.folder()
        self._folder = path
        self._sweeps = 0
        self.arena = Arena(path, limit)
        self.peers = Peers(path)
        self.remote = Remote(self, broker)
        self.channel_bytes = channel_bytes()
        """From how many bytes on a frame goes over the channel to who does not see this memory."""

    def lend(self, frame: bytes, deadline_us: int, reader: Reader, room: int) -> Loan | None:
        """Put a reply into a slot for its reader; None when it has to go inline, as far as there is `room` in bytes."""
        if len(frame) < layout.INLINE_BYTES:
            return None
        is_here = self.peers.find(reader.arena) is not None
        if not is_here and (not reader.has_channel or len(frame) < min(self.channel_bytes, room)):
            return None
        known_by = reader.arena if is_here else ELSEWHERE
        slot = self.arena.lend([frame], deadline_us / 1e6 + layout.GRACE_S, known_by, self._is_alive)
        if slot is None:
            return None
        channel = None if is_here else self.remote.address()
        if not is_here and channel is None:
            slot.free()
            return None
        return Loan(slot, channel)

    def _is_alive(self, reader: bytes) -> bool:
        return reader == ELSEWHERE or self.peers.is_alive(reader)

    def sweep(self) -> None:
        """Take back what was lent and is not needed any more, and let go of the arenas of the dead."""
        self.arena.sweep(self._is_alive)
        somebody_died = self.peers.sweep()
        self._sweeps += 1
        if self._folder is not None and (somebody_died or self._sweeps % CLEAN_EVERY == 0):
            # Also those that we never opened: whoever had may be dead too.
            folder.clean(self._folder)

    def close(self) -> None:
        """Remove this process's arena and let go of the others."""
        self.remote.close()
        self.arena.close()
        self.peers.close()


def channel_bytes() -> int:
    """Return what the environment says of `Exchange.channel_bytes`, which is never below the arena's threshold."""
    text = os.environ.get(_CHANNEL_BYTES) or str(layout.CHANNEL_BYTES)
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise InvalidParameterError(f"{_CHANNEL_BYTES} is '{text:.80}'; allowed: a number of bytes")
    return max(int(text), layout.INLINE_BYTES)


def reader_of(headers: Mapping[str, str]) -> Reader | None:
    """Return who takes the result by claim, None for nobody; what is no id is as good as no header."""
    accept = headers.get(header.ACCEPT)
    if accept is None or len(accept) != 2 * layout.ID_BYTES or not accept.isascii():
        return None
    try:
        identity = bytes.fromhex(accept)
    except ValueError:
        return None
    return Reader(identity, header.CHANNEL in headers) if len(identity) == layout.ID_BYTES else None
