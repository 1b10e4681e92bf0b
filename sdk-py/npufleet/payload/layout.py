"""The bytes of an arena file; docs/arena.md describes them."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from npufleet.wire.document import DOCUMENT

_ARENA: Final = DOCUMENT["arena"]

INLINE_BYTES: Final[int] = DOCUMENT["payload"]["python_inline_bytes"]
CHANNEL_BYTES: Final[int] = DOCUMENT["payload"]["channel_bytes"]
SLOTS: Final[int] = _ARENA["slots"]
TABLE_AT: Final[int] = _ARENA["table_at"]
ENTRY_BYTES: Final[int] = _ARENA["entry_bytes"]
DATA_AT: Final[int] = _ARENA["data_at"]
SMALLEST: Final[int] = _ARENA["smallest"]
LARGEST: Final[int] = _ARENA["largest"]
LIMIT: Final[int] = _ARENA["limit"]
GRACE_S: Final[float] = _ARENA["grace"] / 1e6
ID_BYTES: Final = 16

_MAGIC: Final[bytes] = _ARENA["magic"].encode()
_HEADER: Final = struct.Struct("<8sII16sQQ")
_ENTRY: Final = struct.Struct("<QQQQ")
_WORD: Final = struct.Struct("<Q")
_GENERATION: Final = 16
_RECEIVER: Final = 24
HEADER_BYTES: Final = _HEADER.size
WORD_BYTES: Final = _WORD.size

word: Final = _WORD.pack


class Entry(NamedTuple):
    """One row of the table: where a slot lies, and its two words."""

    start: int
    capacity: int
    generation: int
    receiver: int

    def encode(self) -> bytes:
        """The entry's bytes."""
        return _ENTRY.pack(*self)

    @classmethod
    def decode(cls, content: bytes) -> Entry:
        """Read the bytes of one entry; any bytes are one."""
        return cls(*_ENTRY.unpack(content))

    def is_valid(self) -> bool:
        """Whether it describes a slot that there can be; what is in the file is untrusted."""
        capacity = self.capacity
        return (
            self.start >= DATA_AT
            and self.start % SMALLEST == 0
            and SMALLEST <= capacity <= LARGEST
            and capacity & (capacity - 1) == 0
        )


def header(identity: bytes, limit: int) -> bytes:
    """Return the first bytes of an arena's file."""
    return _HEADER.pack(_MAGIC, _ARENA["version"], SLOTS, identity, DATA_AT, limit)


def identity_of(content: bytes) -> bytes | None:
    """Return the id in a file's first bytes, or None when they are no arena of this layout."""
    if len(content) != HEADER_BYTES:
        return None
    magic, version, slots, identity, data_at, _ = _HEADER.unpack(content)
    known = (_MAGIC, _ARENA["version"], SLOTS, DATA_AT)
    return identity if (magic, version, slots, data_at) == known else None


def entry_at(slot: int) -> int:
    """Return where a slot's entry is in the file."""
    return TABLE_AT + ENTRY_BYTES * slot


def generation_at(slot: int) -> int:
    """Return where a slot's generation is in the file."""
    return entry_at(slot) + _GENERATION


def receiver_at(slot: int) -> int:
    """Return where a slot's receiver is in the file."""
    return entry_at(slot) + _RECEIVER


def word_of(content: bytes) -> int:
    """Read one word; 0 where the file has ended."""
    return int(_WORD.unpack(content)[0]) if len(content) == WORD_BYTES else 0


def capacity_for(length: int) -> int | None:
    """Return the capacity of the smallest slots that take a frame, or None when none do."""
    return max(SMALLEST, 1 << (length - 1).bit_length()) if 0 < length <= LARGEST else None
