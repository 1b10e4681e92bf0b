"""A reference to a frame that lies elsewhere: the claim-check pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from npufleet.errors import InvalidFrameError
from npufleet.wire.document import DOCUMENT

MAX_LENGTH: Final[int] = DOCUMENT["claim"]["max_length"]
PATTERN: Final = re.compile(r"npu1:([0-9a-f]{32}):([0-9]{1,10}):([0-9]{1,20}):([0-9]{1,20})")


@dataclass(frozen=True, slots=True)
class Claim:
    """One frame of `length` bytes in slot `slot` of the arena with this 16-byte id, valid for one `generation`."""

    arena: bytes
    slot: int
    generation: int
    length: int

    def __str__(self) -> str:
        return f"npu1:{self.arena.hex()}:{self.slot}:{self.generation}:{self.length}"

    @classmethod
    def parse(cls, text: str) -> Claim:
        """Return the value of an `Npu-Claim` header, or raise `InvalidFrameError`; claims are untrusted input."""
        found = PATTERN.fullmatch(text)
        if found is None:
            raise InvalidFrameError(f"claim is {text[:120]!r}; allowed: npu1:<arena>:<slot>:<generation>:<length>")
        slot, generation, length = map(int, found.groups()[1:])
        if slot >= 2**32 or generation >= 2**64 or length > MAX_LENGTH:
            raise InvalidFrameError(f"claim is {text!r}; allowed: slot below 2^32, length up to {MAX_LENGTH}")
        return cls(bytes.fromhex(found[1]), slot, generation, length)
