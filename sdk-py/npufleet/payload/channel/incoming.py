"""A frame being put together from its chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import zmq

from npufleet.payload.channel.message import CHUNK_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIGNMENT: Final = 8


class Incoming:
    """What has arrived of a frame. Memory is taken when its first chunk is there, not because a claim says so."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.received = 0
        self._held: NDArray[np.uint8] | None = None

    def take(self, socket: zmq.Socket[bytes]) -> bool:
        """Take the bytes that wait in the socket; False when they are none or too many."""
        if self.length <= CHUNK_BYTES and self.received == 0:
            whole = socket.recv(zmq.DONTWAIT, copy=False).buffer
            self._held = _aligned(whole)
            self.received = whole.nbytes
            return self.received == self.length
        if self._held is None:
            self._held = np.empty(self.length, np.uint8)
        room = memoryview(self._held)[self.received :]  # type: ignore[arg-type]
        size = socket.recv_into(room, flags=zmq.DONTWAIT)
        self.received += size
        return 1 <= size <= room.nbytes

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return self._held is not None and self.received == self.length

    @property
    def chunks_left(self) -> int:
        """How many chunks are missing."""
        return -(-(self.length - self.received) // CHUNK_BYTES)

    def finish(self) -> memoryview:
        """Return the frame, read-only and aligned as tensors need it."""
        return memoryview(self._held if self._held is not None else b"").toreadonly()  # type: ignore[arg-type]


def _aligned(whole: memoryview) -> NDArray[np.uint8]:
    array = np.frombuffer(whole, np.uint8)
    return array if array.ctypes.data % _ALIGNMENT == 0 else array.copy()
