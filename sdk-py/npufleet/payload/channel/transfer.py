"""Frames on their way out, one chunk at a time in turn, so that no transfer waits for a larger one."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import zmq

from npufleet.payload.channel.message import CHUNK_BYTES, CREDIT_LIMIT, Data
from npufleet.wire.document import DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: Final[int] = DOCUMENT["channel"]["transfers_limit"]
IDLE_LIMIT_S: Final[float] = DOCUMENT["channel"]["idle_limit"] / 1e6


@dataclass(slots=True)
class Transfer:
    """One frame on its way to one asker; times are `time.monotonic`."""

    peer: bytes
    number: int
    frame: memoryview
    sent: int
    credit: int
    gives_up: float
    heard: float = field(default_factory=time.monotonic)

    def step(self, socket: zmq.Socket[bytes]) -> bool | None:
        """Send a chunk: True for sent, False when it has to wait, None when there is nothing more to do."""
        if not self.credit:
            return False
        if not send_head(socket, self.peer, Data(self.number, self.sent, self.frame.nbytes).encode()):
            return None
        end = min(self.frame.nbytes, self.sent + CHUNK_BYTES)
        # The slot's own bytes: pyzmq drops this view of them when they have been sent.
        socket.send(self.frame[self.sent : end], zmq.DONTWAIT, copy=False)
        self.sent = end
        self.credit -= 1
        return True if end < self.frame.nbytes else None


class Transfers:
    """All transfers of an owner."""

    def __init__(self) -> None:
        self._all: deque[Transfer] = deque()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, transfer: Transfer) -> None:
        """Begin one."""
        self._all.append(transfer)

    def has(self, peer: bytes, number: int) -> bool:
        """Return whether an asker's transfer is on its way."""
        return any(each.number == number and each.peer == peer for each in self._all)

    def give(self, peer: bytes, number: int, credit: int) -> None:
        """Let more chunks of a transfer be sent."""
        for each in self._all:
            if each.number == number and each.peer == peer:
                each.credit = min(each.credit + credit, CREDIT_LIMIT)
                each.heard = time.monotonic()

    def stop(self, peer: bytes, number: int) -> None:
        """Forget a transfer."""
        self._keep(lambda each: each.number != number or each.peer != peer)

    def turn(self, socket: zmq.Socket[bytes]) -> bool:
        """Send a chunk of every transfer that may send one, and return whether there was one."""
        any_sent = False
        for _ in range(len(self._all)):
            transfer = self._all.popleft()
            try:
                sent = transfer.step(socket)
            except zmq.Again:
                sent = False
            if sent is not None:
                self._all.append(transfer)
                any_sent = any_sent or sent
        return any_sent

    def forget_old(self) -> None:
        """Forget the transfers that nobody waits for or goes on with."""
        now = time.monotonic()
        self._keep(lambda each: now < each.gives_up and now < each.heard + IDLE_LIMIT_S)

    def _keep(self, condition: Callable[[Transfer], bool]) -> None:
        self._all = deque(each for each in self._all if condition(each))


def send_head(socket: zmq.Socket[bytes], peer: bytes, head: bytes) -> bool:
    """Send an asker the first part of a message; False when it left. Raises `zmq.Again` when it does not read."""
    try:
        socket.send(peer, zmq.SNDMORE | zmq.DONTWAIT)
    except zmq.Again:
        raise
    except zmq.ZMQError as error:
        if error.errno == zmq.EHOSTUNREACH:
            return False
        raise
    socket.send(head, zmq.SNDMORE | zmq.DONTWAIT)
    return True
