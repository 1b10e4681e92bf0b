"""Both sides of the arena as one process uses them: what it lends to others of its user and takes from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from npufleet.payload import folder, layout
from npufleet.payload.arena import Arena
from npufleet.payload.peers import Peers
from npufleet.payload.remote import Remote

if TYPE_CHECKING:
    from npufleet.payload.slots import Slot

SWEEP_S: Final = 1.0
"""How often `sweep` should be called while there is anything to look after."""

CLEAN_EVERY: Final = 3
"""How many sweeps there are to one look at the whole folder."""

AT_ONCE_BYTES: Final = 1 << 20
"""Copying less than this holds up an event loop for less time than it takes to ask a thread."""

ELSEWHERE: Final = b""
"""The reader of a reply that is fetched over the channel: nothing here shows whether it lives, so the lease ends it."""


class Exchange:
    """The arena of this process and those of others, in the folder that the environment names."""

    def __init__(self, limit: int = layout.LIMIT, broker: str = "") -> None:
        path = folder.folder()
        self._folder = path
        self._sweeps = 0
        self.arena = Arena(path, limit)
        self.peers = Peers(path)
        self.remote = Remote(self, broker)

    @property
    def accept(self) -> str | None:
        """The value of `Npu-Accept`: the id of this process's arena, once there is one."""
        identity = self.arena.identity
        return None if identity is None else identity.hex()

    def lend(self, frame: bytes, deadline_us: int, reader: bytes) -> Slot | None:
        """Put a reply into a slot for the process that has the arena `reader`; None when it has to go inline."""
        if reader != ELSEWHERE and self.peers.find(reader) is None:
            return None
        slot = self.arena.lend([frame], deadline_us / 1e6 + layout.GRACE_S, reader, self._is_alive)
        if slot is not None and reader == ELSEWHERE and self.remote.address() is None:
            slot.free()
            return None
        return slot

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


def reader_of(accept: str | None) -> bytes | None:
    """Return the id that `Npu-Accept` names, or None; what is no id is as good as no header."""
    if accept is None or len(accept) != 2 * layout.ID_BYTES or not accept.isascii():
        return None
    try:
        identity = bytes.fromhex(accept)
    except ValueError:
        return None
    return identity if len(identity) == layout.ID_BYTES else None
