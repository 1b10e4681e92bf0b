"""What asker and owner say to each other: fixed little-endian layouts, decoded as untrusted input.

Every message begins with 16 bytes: the magic number, the kind, three zero bytes, and the transfer, a number that the
asker chooses. Reserved bytes are zero, and a message has exactly the size of its kind.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from npufleet import errors
from npufleet.wire import claim
from npufleet.wire.claim import Claim
from npufleet.wire.document import DOCUMENT

_CONTRACT: Final = DOCUMENT["channel"]
_KINDS: Final[dict[str, int]] = _CONTRACT["kinds"]
_MAGIC: Final[bytes] = _CONTRACT["magic"].encode()

CHUNK_BYTES: Final[int] = _CONTRACT["chunk_bytes"]
CREDIT: Final[int] = _CONTRACT["credit"]
CREDIT_LIMIT: Final[int] = _CONTRACT["credit_limit"]
TEXT_BYTES: Final[int] = _CONTRACT["text_bytes"]
PATIENCE_LIMIT_US: Final[int] = _CONTRACT["patience_limit"]
REQUEST_BYTES: Final[int] = max(_CONTRACT["sizes"].values())
REFUSALS: Final = {errors.BY_KIND[kind].code: errors.BY_KIND[kind] for kind in _CONTRACT["refusals"]}
"""What an owner may refuse a transfer with, by its code."""

_HEAD: Final = struct.Struct("<4sBHBQ")
_FETCH: Final = struct.Struct("<16sIIQQQQ")
_MORE: Final = struct.Struct("<II")
_RELEASE: Final = struct.Struct("<16sIIQ")
_DATA: Final = struct.Struct("<QQ")
_REFUSED: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Fetch:
    """Send a claimed frame from `offset` on, `credit` chunks for now; nobody waits after `patience_us` microseconds."""

    transfer: int
    claim: Claim
    credit: int
    offset: int
    patience_us: int

    def encode(self) -> bytes:
        """The message's bytes."""
        frame = self.claim
        numbers = (frame.slot, self.credit, frame.generation, frame.length, self.offset, self.patience_us)
        return _head("fetch", self.transfer) + _FETCH.pack(frame.arena, *numbers)


@dataclass(frozen=True, slots=True)
class More:
    """So many chunks more may be sent."""

    transfer: int
    credit: int

    def encode(self) -> bytes:
        """The message's bytes."""
        return _head("more", self.transfer) + _MORE.pack(self.credit, 0)


@dataclass(frozen=True, slots=True)
class Stop:
    """Send no more of it."""

    transfer: int

    def encode(self) -> bytes:
        """The message's bytes."""
        return _head("stop", self.transfer)


@dataclass(frozen=True, slots=True)
class Release:
    """The frame is not needed any more: its slot may be used again. There is no answer."""

    arena: bytes
    slot: int
    generation: int

    def encode(self) -> bytes:
        """The message's bytes."""
        return _head("release", 0) + _RELEASE.pack(self.arena, self.slot, 0, self.generation)


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a frame of `length` bytes, from `offset` on; they are the message's second part."""

    transfer: int
    offset: int
    length: int

    def encode(self) -> bytes:
        """The bytes of the message's first part."""
        return _head("data", self.transfer) + _DATA.pack(self.offset, self.length)


@dataclass(frozen=True, slots=True)
class Refused:
    """It will not be sent, with the code of one of `REFUSALS`; why is in the second part, as a text."""

    transfer: int
    code: int

    def encode(self) -> bytes:
        """The bytes of the message's first part."""
        return _head("refused", self.transfer) + _REFUSED.pack(self.code)


Request = Fetch | More | Stop | Release
Answer = Data | Refused


def decode_request(content: bytes) -> Request | None:
    """Read what an asker says; None when it is nothing that one may say."""
    kind, transfer, body = _parts(content)
    if kind == _KINDS["fetch"] and len(body) == _FETCH.size:
        arena, slot, credit, generation, length, offset, patience_us = _FETCH.unpack(body)
        possible = offset <= length <= claim.MAX_LENGTH and 1 <= patience_us <= PATIENCE_LIMIT_US
        if possible and 1 <= credit <= CREDIT_LIMIT:
            return Fetch(transfer, Claim(arena, slot, generation, length), credit, offset, patience_us)
    elif kind == _KINDS["more"] and len(body) == _MORE.size:
        credit, reserved = _MORE.unpack(body)
        if 1 <= credit <= CREDIT_LIMIT and reserved == 0:
            return More(transfer, credit)
    elif kind == _KINDS["stop"] and not body:
        return Stop(transfer)
    elif kind == _KINDS["release"] and len(body) == _RELEASE.size:
        arena, slot, reserved, generation = _RELEASE.unpack(body)
        if transfer == 0 and reserved == 0:
            return Release(arena, slot, generation)
    return None


def decode_answer(content: bytes) -> Answer | None:
    """Read the first part of what an owner says; None when it is nothing that one may say."""
    kind, transfer, body = _parts(content)
    if kind == _KINDS["data"] and len(body) == _DATA.size:
        offset, length = _DATA.unpack(body)
        if offset <= length <= claim.MAX_LENGTH:
            return Data(transfer, offset, length)
    elif kind == _KINDS["refused"] and len(body) == _REFUSED.size:
        (code,) = _REFUSED.unpack(body)
        if code in REFUSALS:
            return Refused(transfer, code)
    return None


def transfer_of(content: bytes) -> int:
    """Return the transfer that a malformed request is about, as far as it says so, else 0."""
    return _parts(content)[1]


def _head(kind: str, transfer: int) -> bytes:
    return _HEAD.pack(_MAGIC, _KINDS[kind], 0, 0, transfer)


def _parts(content: bytes) -> tuple[int, int, bytes]:
    """The kind, the transfer and what follows; kind 0, which nobody has, when it is no message."""
    if len(content) < _HEAD.size:
        return 0, 0, b""
    magic, kind, *reserved, transfer = _HEAD.unpack_from(content)
    if magic != _MAGIC or any(reserved):
        return 0, 0, b""
    return kind, transfer, content[_HEAD.size :]
