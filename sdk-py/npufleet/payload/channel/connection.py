"""One DEALER, connected to one owner: carries one transfer at a time."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from npufleet.errors import CallCancelledError, DeadlineExceededError, FleetError, InvalidFrameError, PayloadLostError
from npufleet.payload.channel import context, security
from npufleet.payload.channel.message import (
    CHUNK_BYTES,
    CREDIT,
    PATIENCE_LIMIT_US,
    REFUSALS,
    Data,
    Fetch,
    More,
    Refused,
    Request,
    Stop,
    decode_answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from npufleet.payload.channel.address import Address
    from npufleet.payload.channel.incoming import Incoming
    from npufleet.wire.claim import Claim

_CONNECT_TIMEOUT_MS: Final = 5_000
_AT_ONCE: Final = 64
_HIGH_WATER: Final = 2 * CREDIT
"""Never more than the credit that is given: memory is bounded by what was asked for."""

_EVENTS: Final = (
    zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EAGAIN: Final = 11
_LOOK_MS: Final = 100
"""How often it is asked whether a frame is still wanted, at least."""


class LostError(Exception):
    """The connection is gone; over another one the transfer may go on."""


class RefusedError(Exception):
    """The owner said no; the connection is as good as before."""

    def __init__(self, cause: FleetError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Connection:
    """Begins to connect at once; whether somebody is there is found out by the first transfer.

    Raises `OverloadedError` without descriptors, `InvalidFrameError` when the address's key is none,
    `UnsupportedError` when it wants CURVE and libzmq has none.
    """

    def __init__(self, address: Address) -> None:
        if address.key is not None:
            security.need_curve(f"fetching from {address.endpoint}")
        self.address = address
        self._transfer = 0
        self._socket = context.make_socket(
            zmq.DEALER, ipv6=address.is_ipv6, high_water=_HIGH_WATER, largest=CHUNK_BYTES + 1024
        )
        # A lost connection is replaced by a new one: what it had been told is lost with it.
        self._socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self._socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_TIMEOUT_MS)
        try:
            if address.key is not None:
                self._use_curve(address.key)
            self._events = self._socket.get_monitor_socket(_EVENTS)
            self._socket.connect(address.endpoint)
        except zmq.ZMQError as error:
            self._socket.close()
            raise context.short(error) from error
        except FleetError:
            self._socket.close()
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._events, zmq.POLLIN)

    def _use_curve(self, key: str) -> None:
        public, secret = security.new_pair()
        try:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, key.encode())
        except zmq.ZMQError as error:
            raise InvalidFrameError(f"the key of {self.address} is none: {error}") from error
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, public.encode())
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret.encode())

    def close(self) -> None:
        """Close it."""
        self._socket.disable_monitor()
        self._events.close()
        self._socket.close()

    def fetch(self, claim: Claim, incoming: Incoming, deadline: float, wanted: Callable[[], bool]) -> None:
        """Fetch what is missing of a frame until `deadline`, of `time.monotonic`; raises as `Asker.fetch` says."""
        self._transfer += 1
        patience = min(max(int((deadline - time.monotonic()) * 1e6), 1), PATIENCE_LIMIT_US)
        self.say(Fetch(self._transfer, claim, CREDIT, incoming.received, patience))
        outstanding = CREDIT
        while (left := deadline - time.monotonic()) > 0:
            if not wanted():
                raise CallCancelledError(f"{claim} is wanted no longer")
            ready = dict(self._poller.poll(min(int(left * 1000) + 1, _LOOK_MS)))
            # Answers first: what arrived before the connection went counts.
            for _ in range(_AT_ONCE):
                chunks = self._answer(claim, incoming)
                if chunks is None:
                    break
                if incoming.is_complete:
                    return
                outstanding -= chunks
                outstanding += self._give(outstanding, incoming)
            if self._events in ready:
                self._look()
        raise DeadlineExceededError(f"{incoming.received} bytes of the frame came from {self.address.endpoint} in time")

    def _give(self, outstanding: int, incoming: Incoming) -> int:
        """Give credit for as many chunks as still come, when half of it is used up; return for how many."""
        credit = min(incoming.chunks_left, CREDIT) - outstanding
        if outstanding > CREDIT // 2 or credit <= 0:
            return 0
        self.say(More(self._transfer, credit))
        return credit

    def _answer(self, claim: Claim, incoming: Incoming) -> int | None:
        """Take one answer: 1 for a chunk, 0 for an answer to an earlier transfer, None when there is none."""
        try:
            answer = decode_answer(self._socket.recv(zmq.DONTWAIT))
        except zmq.Again:
            return None
        if answer is None or not self._socket.getsockopt(zmq.RCVMORE):
            raise self._nonsense()
        mine = answer.transfer == self._transfer
        if isinstance(answer, Data) and mine:
            expected = answer.length == claim.length and answer.offset == incoming.received
            if not (expected and incoming.take(self._socket)):
                raise self._nonsense()
        else:
            text = self._socket.recv(zmq.DONTWAIT).decode(errors="replace")
            if isinstance(answer, Refused) and mine:
                raise RefusedError(REFUSALS[answer.code](f"{self.address.endpoint}: {text}"))
        if self._socket.getsockopt(zmq.RCVMORE):
            raise self._nonsense()
        return int(mine)

    def _look(self) -> None:
        """Look at what happened to the connection."""
        while True:
            try:
                event = parse_monitor_message(self._events.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                return
            if event["event"] == zmq.EVENT_DISCONNECTED:
                raise LostError
            if event["event"] == zmq.EVENT_MONITOR_STOPPED:
                continue
            raise self.lost(self._reason(int(event["event"]), int(event["value"])))

    def _reason(self, event: int, value: int) -> str:
        if event == zmq.EVENT_CLOSED:
            return "nobody listens there"
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return "one side speaks CURVE and the other does not, or it is no channel at all"
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and value == _EAGAIN:
            return "no answer to the handshake"
        if self.address.key is None:
            return "it refused the handshake, as it does when it wants CURVE"
        return "it refused the handshake: the key is not its key, or it does not speak CURVE"

    def say(self, request: Request) -> None:
        """Send a request; raises `LostError` where there is no connection, or none on which anything moves."""
        try:
            self._socket.send(request.encode(), zmq.DONTWAIT)
        except zmq.Again:
            self._look()
            raise LostError from None

    def stop(self) -> None:
        """Tell the owner not to go on; it forgets the transfer by itself when this does not arrive."""
        with contextlib.suppress(LostError, PayloadLostError, zmq.ZMQError):
            self.say(Stop(self._transfer))

    def lost(self, reason: str) -> PayloadLostError:
        """Return the error for a frame that cannot be had from there."""
        return PayloadLostError(f"no frame from {self.address.endpoint}: {reason}")

    def _nonsense(self) -> PayloadLostError:
        return self.lost("its answer is not one to what was asked")
