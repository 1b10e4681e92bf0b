"""What an owner lends frames from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npufleet.wire.claim import Claim


class Source(Protocol):
    """An arena, as far as the channel needs to know it; its methods are called from the channel's thread."""

    @property
    def arena(self) -> bytes:
        """The 16-byte id that claims name it by."""

    def borrow(self, claim: Claim) -> memoryview:
        """Return a claimed frame's bytes, which stay what they are for as long as a view of them lives.

        Raises `PayloadLostError` when the slot holds another generation, `InvalidFrameError` when there can be no
        such frame.
        """

    def release(self, slot: int, generation: int) -> None:
        """Let the slot be used again, if it still holds this generation."""
