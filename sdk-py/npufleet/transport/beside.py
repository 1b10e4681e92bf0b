"""Large frames of the pure transport: in the arena instead of in the message, both ways."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from npufleet.errors import FleetError, PayloadTooLargeError
from npufleet.payload.exchange import AT_ONCE_BYTES, SWEEP_S, Exchange
from npufleet.payload.layout import INLINE_BYTES
from npufleet.wire import header
from npufleet.wire.claim import Claim

if TYPE_CHECKING:
    import asyncio

    from nats.aio.msg import Msg

    from npufleet.payload.slots import Slot
    from npufleet.transport.pure import PureFlight

INLINE_S: Final = 10.0
"""For so long frames go through the broker, if they fit, after a worker could not read one in the arena; and those that
are too small for the channel, after a worker had to fetch one."""


class Beside:
    """What one transport puts into its arena, and takes from those of the workers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, broker: str) -> None:
        self._loop = loop
        self._exchange = Exchange(broker=broker)
        self._avoided_until, self._avoided_below = 0.0, 0
        self._fetching: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.TimerHandle | None = None
        self.placed = 0
        """Requests whose frame went by arena."""

    def avoid(self) -> None:
        """Send what fits through the broker for a while: a worker cannot read our arena."""
        self._avoid_below(sys.maxsize)

    def avoid_channel(self) -> None:
        """Send what is too small for the channel through the broker for a while: a worker fetched a frame over it."""
        self._avoid_below(self._exchange.channel_bytes)

    def _avoid_below(self, size: int) -> None:
        if size >= self._inline_below():
            self._avoided_until, self._avoided_below = time.monotonic() + INLINE_S, size

    def _inline_below(self) -> int:
        """Return below how many bytes frames that fit go through the broker."""
        return self._avoided_below if time.monotonic() < self._avoided_until else INLINE_BYTES

    def accept(self) -> dict[str, str] | None:
        """Return the headers that have results come by claim; None when they cannot."""
        identity = self._exchange.arena.prepare()
        return None if identity is None else self._headers(identity)

    def place(self, frame: bytes, fields: dict[str, str], max_payload: int) -> Slot | None:
        """Put a large frame into the arena and say so in the headers; None when it goes inline.

        Raises `PayloadTooLargeError` when it can go neither way.
        """
        size = len(frame) + header_bytes(fields)
        if size > max_payload or len(frame) >= self._inline_below():
            slot = self._exchange.arena.put([frame])
            if slot is not None:
                self.placed += 1
                fields[header.CLAIM] = str(slot.claim)
                fields.update(self._headers(slot.claim.arena))
                return slot
        check_size(frame, fields, max_payload)
        return None

    def _headers(self, identity: bytes) -> dict[str, str]:
        channel = self._exchange.remote.address()
        return {header.ACCEPT: identity.hex()} | ({} if channel is None else {header.CHANNEL: channel})

    def take(self, flight: PureFlight | None, reply: Msg) -> None:
        """End a flight with a reply whose frame is in the worker's arena; its slot is given back in any case."""
        peers = self._exchange.peers
        try:
            claim = Claim.parse((reply.headers or {})[header.CLAIM])
            if flight is None or flight.done():
                # Over the channel the lease ends it.
                peers.release(claim)
            elif claim.length < AT_ONCE_BYTES and peers.find(claim.arena) is not None:
                reply.data = peers.take(claim)
                flight.set_result(reply)
            else:
                task = self._loop.create_task(self._take_slowly(flight, reply, claim))
                self._fetching.add(task)
                task.add_done_callback(self._fetching.discard)
        except FleetError as error:
            if flight is not None and not flight.done():
                flight.set_exception(error)
        if self._tidying is None:
            self._tidying = self._loop.call_later(SWEEP_S, self._tidy)

    async def close(self) -> None:
        """Finish what is being copied and remove the arena."""
        for task in list(self._fetching):
            await task
        if self._tidying is not None:
            self._tidying.cancel()
        self._exchange.close()

    async def _take_slowly(self, flight: PureFlight, reply: Msg, claim: Claim) -> None:
        channel = (reply.headers or {}).get(header.CHANNEL)

        def take() -> bytes:
            if channel is None or self._exchange.peers.find(claim.arena) is not None:
                return self._exchange.peers.take(claim)
            return self._exchange.remote.fetch(
                claim, channel, flight.deadline_us, lambda: not flight.done(), release=True
            )

        try:
            reply.data = await self._loop.run_in_executor(None, take)
        except FleetError as error:
            if not flight.done():
                flight.set_exception(error)
        else:
            if not flight.done():
                flight.set_result(reply)

    def _tidy(self) -> None:
        """Let go of the arenas of workers that are gone, as long as any is open."""
        self._exchange.sweep()
        is_needed = len(self._exchange.peers) > 0
        self._tidying = self._loop.call_later(SWEEP_S, self._tidy) if is_needed else None


def check_size(frame: bytes, fields: dict[str, str], max_payload: int) -> None:
    """Raise `PayloadTooLargeError` for what the broker does not take; it counts the headers too."""
    size = len(frame) + header_bytes(fields)
    if size > max_payload:
        raise PayloadTooLargeError.of(size, max_payload)


def header_bytes(headers: dict[str, str]) -> int:
    """Return the size of a message's header block."""
    return len(b"NATS/1.0\r\n\r\n") + sum(
        len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items()
    )
