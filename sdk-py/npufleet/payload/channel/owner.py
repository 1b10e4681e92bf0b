"""Lends frames of this process's arenas to whoever asks: one thread and one ROUTER."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Final

import zmq

from npufleet.errors import FleetError, InvalidFrameError, OverloadedError, PayloadLostError, UnavailableError
from npufleet.payload.channel import context, security
from npufleet.payload.channel.address import Address
from npufleet.payload.channel.endpoint import LOOPBACK, Endpoint, bracketed
from npufleet.payload.channel.message import (
    REFUSALS,
    TEXT_BYTES,
    Fetch,
    More,
    Refused,
    Release,
    Stop,
    decode_request,
    transfer_of,
)
from npufleet.payload.channel.transfer import LIMIT, Transfer, Transfers, send_head

if TYPE_CHECKING:
    from npufleet.payload.channel.source import Source

LARGEST_REQUEST: Final = 1024
"""Bytes of the largest message that an asker may send: a request, or a step of CURVE's handshake."""

_HIGH_WATER: Final = 256
_AT_ONCE: Final = 64
_LOOK_MS: Final = 250


class Owner:
    """The asked side of the channel; end it with `close` or as a context manager.

    Raises `InvalidParameterError` when others could not connect to the endpoint, `UnavailableError` when it is taken
    or not of this machine, `UnsupportedError` when CURVE is wanted and libzmq has none, `OverloadedError` without
    descriptors.
    """

    def __init__(self, endpoint: Endpoint = LOOPBACK, protection: str = "auto") -> None:
        host = endpoint.told()
        keys = security.keys(protection, host)
        self._socket = context.make_socket(
            zmq.ROUTER, ipv6=endpoint.is_ipv6, high_water=_HIGH_WATER, largest=LARGEST_REQUEST
        )
        try:
            port = self._bind(endpoint, keys)
            self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except zmq.ZMQError as error:
            self._socket.close()
            raise UnavailableError(f"payload channel: cannot listen at {endpoint.to_bind()}: {error}") from error
        except OSError as error:
            self._socket.close()
            raise context.short(error) from error
        self.address = Address(f"tcp://{bracketed(host)}:{port}", keys and keys[0])
        self._process = os.getpid()
        self._sources: dict[bytes, Source] = {}
        self._transfers = Transfers()
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="npufleet-channel", daemon=True)
        self._thread.start()

    def _bind(self, endpoint: Endpoint, keys: tuple[str, str] | None) -> str:
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if keys is not None:
            self._socket.setsockopt(zmq.CURVE_SERVER, 1)
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys[1].encode())
        self._socket.bind(endpoint.to_bind())
        bound: bytes = self._socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
        return bound.rstrip(b"\0").decode().rpartition(":")[2]

    def add(self, source: Source) -> None:
        """Lend frames from an arena from now on."""
        self._sources[source.arena] = source

    def remove(self, arena: bytes) -> None:
        """Lend none of an arena any more; what is on its way still arrives."""
        self._sources.pop(arena, None)

    def close(self) -> None:
        """End it; closing again does nothing. In a forked child the parent's goes on."""
        if self._thread is not None:
            if self._process == os.getpid():
                os.eventfd_write(self._stop, 1)
                self._thread.join()
            self._thread = None
            os.close(self._stop)

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stop, zmq.POLLIN)
        goes_on = False
        try:
            while True:
                wait = 0 if goes_on else (_LOOK_MS if len(self._transfers) else None)
                ready = dict(poller.poll(wait))
                if self._stop in ready:
                    return
                if self._socket in ready:
                    self._take()
                goes_on = self._transfers.turn(self._socket)
                self._transfers.forget_old()
        finally:
            self._socket.close()

    def _take(self) -> None:
        """Take the requests that wait, not all of them when there are many."""
        for _ in range(_AT_ONCE):
            try:
                peer, *parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if len(parts) == 1:
                self._obey(peer, parts[0])
            else:
                self._refuse(peer, 0, _malformed())

    def _obey(self, peer: bytes, content: bytes) -> None:
        match decode_request(content):
            case Fetch() as request:
                try:
                    frame = self._borrow(peer, request)
                except FleetError as error:
                    self._refuse(peer, request.transfer, error)
                    return
                gives_up = time.monotonic() + request.patience_us / 1e6
                self._transfers.add(Transfer(peer, request.transfer, frame, request.offset, request.credit, gives_up))
            case More(transfer, credit):
                self._transfers.give(peer, transfer, credit)
            case Stop(transfer):
                self._transfers.stop(peer, transfer)
            case Release(arena, slot, generation):
                if (source := self._sources.get(arena)) is not None:
                    source.release(slot, generation)
            case None:
                self._refuse(peer, transfer_of(content), _malformed())

    def _borrow(self, peer: bytes, request: Fetch) -> memoryview:
        if self._transfers.has(peer, request.transfer):
            raise InvalidFrameError(f"transfer {request.transfer} is on its way already")
        if len(self._transfers) >= LIMIT:
            raise OverloadedError("too many transfers are on their way from here")
        source = self._sources.get(request.claim.arena)
        if source is None:
            raise PayloadLostError("no such arena here")
        frame = source.borrow(request.claim)
        if frame.nbytes != request.claim.length:
            raise InvalidFrameError(f"the frame has {frame.nbytes} bytes")
        return frame

    def _refuse(self, peer: bytes, transfer: int, error: FleetError) -> None:
        code = error.code if error.code in REFUSALS else PayloadLostError.code
        text = str(error)[: TEXT_BYTES // 4].encode()
        # An asker that does not read what it asked for goes without.
        with contextlib.suppress(zmq.Again):
            if send_head(self._socket, peer, Refused(transfer, code).encode()):
                self._socket.send(text, zmq.DONTWAIT)


def _malformed() -> InvalidFrameError:
    return InvalidFrameError("not a request of the payload channel")
