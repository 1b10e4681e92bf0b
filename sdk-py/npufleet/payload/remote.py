"""The channel as one process uses it: what it lends to processes that cannot open its arena, and fetches from theirs.

Three variables of the environment say how: `NPUFLEET_CHANNEL` is `auto` (the default: the interface from which the
broker is reached, or the loopback one), `off`, or an endpoint such as `tcp://10.0.0.7:*`; `NPUFLEET_CHANNEL_ADVERTISE`
the address that others reach it by, if that is another one; `NPUFLEET_CHANNEL_SECURITY` is `auto`, `curve` or `plain`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from npufleet.errors import FleetError, PayloadLostError
from npufleet.payload.channel.address import Address
from npufleet.payload.channel.asker import Asker
from npufleet.payload.channel.endpoint import LOOPBACK, Endpoint
from npufleet.payload.channel.owner import Owner
from npufleet.wire.claim import Claim
from npufleet.wire.contract import RESULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from npufleet.payload.exchange import Exchange

_log = logging.getLogger(__name__)

BROKER_PORT: Final = 4222


class Lender:
    """The arena of this process as the channel's owner wants it: frames are copied out of their slots."""

    def __init__(self, exchange: Exchange, arena: bytes) -> None:
        self._exchange = exchange
        self.arena = arena

    def borrow(self, claim: Claim) -> memoryview:
        """Return a copy of a frame; raises what `Peers.read` raises."""
        return memoryview(self._exchange.peers.read(claim))

    def release(self, slot: int, generation: int) -> None:
        """Say in the reader's place that it is done."""
        self._exchange.peers.release(Claim(self.arena, slot, generation, 0))


class Remote:
    """Both sides of the channel; nothing is opened before it is needed."""

    def __init__(self, exchange: Exchange, broker: str) -> None:
        """`broker` is the broker's URL, to find the interface that other hosts reach us by."""
        self._exchange = exchange
        self._broker = broker
        self._asker = Asker()
        self._owner: Owner | None = None
        self._is_off = False
        self._lock = threading.Lock()

    def address(self) -> str | None:
        """Return the value of `Npu-Channel`, None where there is no arena or the channel is off."""
        arena = self._exchange.arena.identity
        if arena is None or self._is_off:
            return None
        with self._lock:
            if self._owner is None:
                try:
                    endpoint = endpoint_for(self._broker)
                    security = os.environ.get("NPUFLEET_CHANNEL_SECURITY", "auto")
                    self._owner = None if endpoint is None else Owner(endpoint, security)
                except FleetError as error:
                    _log.warning("no payload channel, so other hosts cannot read large frames of ours: %s", error)
                self._is_off = self._owner is None
                if self._owner is None:
                    return None
                self._owner.add(Lender(self._exchange, arena))
            return str(self._owner.address)

    def fetch(
        self, claim: Claim, channel: str, deadline_us: int, wanted: Callable[[], bool], *, release: bool
    ) -> bytes:
        """Return the frame of a claim from the process at `channel`, before a deadline in unix microseconds.

        It ends soon when the frame is `wanted` no longer.

        Raises as `Asker.fetch`, `InvalidFrameError` for no address, `PayloadLostError` where the channel is off.
        """
        if _mode() == "off":
            raise PayloadLostError(f"{claim} is in an arena that this process cannot open, and its channel is off")
        timeout = max(deadline_us / 1e6 - time.time(), 0.0)
        address = Address.parse(channel)
        fetched = self._asker.fetch(address, claim, limit=RESULT_LIMIT, timeout=timeout, release=release, wanted=wanted)
        return bytes(fetched)

    def close(self) -> None:
        """End both sides."""
        self._is_off = True
        with self._lock:
            owner, self._owner = self._owner, None
        if owner is not None:
            owner.close()
        self._asker.close()


def endpoint_for(broker: str) -> Endpoint | None:
    """Return where to listen, None for nowhere; raises `InvalidParameterError` or `UnavailableError`."""
    word = _mode()
    if word == "off":
        return None
    if word != "auto":
        return replace(Endpoint.parse(word), advertised=os.environ.get("NPUFLEET_CHANNEL_ADVERTISE"))
    parts = urlsplit(broker if "//" in broker else f"nats://{broker}")
    if parts.hostname is None:
        return LOOPBACK
    return Endpoint.towards(parts.hostname, parts.port or BROKER_PORT)


def _mode() -> str:
    return os.environ.get("NPUFLEET_CHANNEL", "auto")
