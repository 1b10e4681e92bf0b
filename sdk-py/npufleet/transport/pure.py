"""The transport without compiled code: nats-py, one inbox subscription, one task that writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import numpy as np
from nats.nuid import NUID

from npufleet.errors import DeadlineExceededError, FleetError, UnavailableError
from npufleet.payload.exchange import HEADER_ROOM, ZEROMQ
from npufleet.payload.layout import INLINE_BYTES
from npufleet.transport import connection
from npufleet.transport.beside import Beside, check_size
from npufleet.transport.sweep import Sweep
from npufleet.wire import header
from npufleet.wire import subject as subjects
from npufleet.wire.frame import tensors_of

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from numpy.typing import DTypeLike, NDArray

    from npufleet.payload.slots import Slot
    from npufleet.transport import HalfTime
    from npufleet.transport.options import ConnectOptions

_log = logging.getLogger(__name__)

_NEVER: Final = float("inf")


async def open(options: ConnectOptions) -> PureTransport:  # noqa: A001 - the name that both transports share
    """Connect, or raise `UnavailableError` with the address and a hint."""
    transport = PureTransport(options)
    await transport.start()
    return transport


class PureFlight(asyncio.Future["Msg"]):
    """One request as an asyncio future of its reply; see `Flight`."""

    plain = False

    def __init__(
        self,
        transport: PureTransport,
        token: str,
        frame: bytes,
        deadline_us: int,
        headers: dict[str, str] | None,
        origin: Any,
        half_time: float,
        slot: Slot | None,
    ) -> None:
        super().__init__(loop=transport.loop)
        self._transport = transport
        self.token = token
        self.frame = frame
        self.deadline_us = deadline_us
        self.headers = headers
        self.origin = origin
        self.half_time = half_time
        """On `time.time()`'s clock; infinite when nobody wants to hear of it."""
        self.sent = False
        self.placement = "inline"
        if slot is not None:
            self.placement = "arena"
            self.add_done_callback(lambda _: slot.free())

    @property
    def status(self) -> int:
        """503 when nobody subscribes to the subject, 0 for an answer."""
        message = self.result()
        return int(message.headers.get("Status", 0)) if message.headers and not message.data else 0

    @property
    def payload(self) -> bytes:
        """The reply frame; empty when the worker answers with an error."""
        return self.result().data

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the reply's arrays; raises `InvalidFrameError` when it is no frame."""
        return tensors_of(self.payload)

    def header(self, name: str) -> str | None:
        """One header of the reply, or None."""
        headers = self.result().headers
        return headers.get(name) if headers else None

    def answer(self, other: PureFlight) -> None:
        """End with the reply of another flight, which has one."""
        self._transport.forget(self)
        self.set_result(other.result())

    def cancel(self, msg: Any = None) -> bool:
        """Forget the request and tell the workers to drop it."""
        self._transport.forget(self)
        return super().cancel(msg)


class PureRoute:
    """Has no short way: every request goes through the checks."""

    def begin(self, tensors: object, params: object, timeout: float, headers: dict[str, str] | None) -> None:
        """Send nothing."""

    def learn(self, tensors: object, params: object, frame: bytes) -> None:
        """Remember nothing."""


class PureTransport:
    """Requests over one nats-py connection; answers come back on one inbox and are matched by their last token."""

    name = "pure"

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self.loop = asyncio.get_running_loop()
        self._client = connection.Client()
        self._id = NUID().next().decode()
        self._inbox = f"{options.inbox_prefix}.{self._id}."
        self._sequence = 0
        self._max_payload = self._inline_below = 0
        self._pending: dict[str, PureFlight] = {}
        self._outgoing: deque[tuple[PureFlight | None, str, bytes, str, dict[str, str] | None]] = deque()
        self._outgoing_or_connected = asyncio.Event()
        self._half_time: HalfTime = lambda _: None
        self._due = Sweep(self.loop, self._sweep)
        self._next_due = _NEVER
        self._writer: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._closed = False
        self._beside = Beside(self.loop, options.url)
        self._accept: dict[str, str] | None = None

    async def start(self) -> None:
        """Connect, subscribe to the inbox, and begin to write."""
        await self._open()
        self._writer = self.loop.create_task(self._write(), name="npufleet-pure-writer")

    async def _open(self) -> None:
        client = connection.Client()
        await connection.connect(
            client,
            self._options,
            disconnected=self._on_disconnected,
            reconnected=self._on_connected,
            closed=self._on_closed,
        )
        # No bounds of its own: what can arrive is bounded by the calls in flight, and a dropped reply is a lost call.
        await client.subscribe(f"{self._inbox}*", cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0)
        await client.flush()
        self._client = client
        await self._on_connected()

    @property
    def max_payload(self) -> int:
        """Bytes the broker takes in one message, headers included."""
        return self._max_payload

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""
        if self._closed:
            return "closed"
        return "connected" if self._client.is_connected else "reconnecting"

    @property
    def placements(self) -> dict[str, int]:
        """How many requests went which way."""
        return {"inline": self._sequence - self._beside.placed, "arena": self._beside.placed}

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an ordinary array: this transport copies frames into its arena, where they are sent from."""
        return np.empty(shape, dtype)

    def on_half_time(self, half_time: HalfTime) -> None:
        """Call `half_time` with each flight that asked for it and has half of its time behind it."""
        self._half_time = half_time

    def route(self, subject: str, main_input: str | None, origin: object) -> PureRoute:
        """Return the short way, which this transport does not have."""
        return PureRoute()

    def request(
        self,
        subject: str,
        frame: bytes,
        deadline_us: int,
        headers: dict[str, str] | None = None,
        origin: Any = None,
        half_time: bool = False,
    ) -> PureFlight:
        """Queue a request for the writer; see `Transport.request`."""
        if self._closed:
            raise UnavailableError(f"the connection to {self._options.url} is closed")
        fields = {header.DEADLINE: str(deadline_us)}
        if headers is not None:
            fields.update(headers)
        slot = None if len(frame) < self._inline_below else self._beside.place(frame, fields, self._max_payload)
        if slot is None and self._accept is not None:
            fields.update(self._accept)
        self._sequence += 1
        token = str(self._sequence)
        now = time.time()
        half = (now + deadline_us / 1e6) / 2 if half_time else _NEVER
        flight = PureFlight(self, token, frame, deadline_us, headers, origin, half, slot)
        self._pending[token] = flight
        self._outgoing.append((flight, subject, frame if slot is None else b"", self._inbox + token, fields))
        self._outgoing_or_connected.set()
        due = min(half, deadline_us / 1e6)
        if due < self._next_due:
            self._next_due = due
            self._due.at(time.monotonic() + due - now)
        return flight

    def request_inline(
        self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None, origin: Any
    ) -> PureFlight:
        """Queue a request that a worker could not read from the arena; the next ones go this way too, for a while."""
        check_size(frame, {header.DEADLINE: str(deadline_us), **(headers or {})}, self._max_payload)
        self._beside.avoid()
        return self.request(subject, frame, deadline_us, headers, origin)

    def accept(self) -> bool:
        """Have results come by claim from now on where they can; see `Transport.accept`."""
        self._accept = self._beside.accept()
        return self._accept is not None

    def forget(self, flight: PureFlight) -> None:
        """Let a reply go nowhere, and tell the workers to drop the work."""
        known = self._pending.pop(flight.token, None)
        if known is not None and flight.sent and not self._closed:
            self._send_cancel(flight)

    def job_route(self, subject: str, main_input: str | None, headers: dict[str, str]) -> None:
        """Have no short way for jobs."""

    async def close(self) -> None:
        """Fail what is in flight with `UnavailableError` and disconnect; may be repeated."""
        self._closed = True
        self._due.stop()
        tasks = [task for task in (self._writer, self._reopening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(list(self._pending.values()), "the connection was closed by this program")
        await self._client.close()
        await self._beside.close()

    def _send_cancel(self, pending: PureFlight) -> None:
        subject = subjects.cancel(f"{self._id}.{pending.token}", self._options.prefix)
        self._outgoing.append((None, subject, b"", "", None))
        self._outgoing_or_connected.set()

    async def _write(self) -> None:
        """Publish what is queued, in order; while the broker is away, keep it."""
        outgoing = self._outgoing
        while True:
            # Published while the broker is away, a request would be sent after its caller was told that it failed.
            if not outgoing or not self._client.is_connected:
                self._outgoing_or_connected.clear()
                await self._outgoing_or_connected.wait()
                continue
            pending, subject, frame, reply, headers = outgoing.popleft()
            if pending is not None:
                if pending.done():
                    continue
                pending.sent = True
            try:
                await self._client.publish(subject, frame, reply=reply, headers=headers)
            except (nats.errors.Error, OSError) as error:
                if pending is None:
                    _log.warning("cannot publish to %s: %s", subject, error or repr(error))
                else:
                    self._fail([pending], f"{error!r}")

    async def _on_message(self, message: Msg) -> None:
        pending = self._pending.pop(message.subject[len(self._inbox) :], None)
        if message.headers is not None and message.headers.get(header.PLACEMENT) == ZEROMQ:
            self._beside.avoid_channel()
        if not message.data and message.headers is not None and header.CLAIM in message.headers:
            self._beside.take(pending, message)
        elif pending is not None and not pending.done():
            pending.set_result(message)

    def _sweep(self) -> float | None:
        """Fail the requests whose deadline has passed, tell of half-times, and return when the next is due."""
        now = time.time()
        earliest = _NEVER
        for pending in list(self._pending.values()):
            if pending.half_time <= now and not pending.done():
                pending.half_time = _NEVER
                self._half_time(pending)
            if pending.deadline_us > now * 1e6:
                earliest = min(earliest, pending.half_time, pending.deadline_us / 1e6)
                continue
            # Telling of a half-time may have ended it.
            self._pending.pop(pending.token, None)
            if not pending.done():
                pending.set_exception(self._late(pending))
            if pending.sent:
                self._send_cancel(pending)
        self._next_due = earliest
        return time.monotonic() + earliest - now if earliest < _NEVER else None

    def _late(self, pending: PureFlight) -> FleetError:
        if pending.sent:
            return DeadlineExceededError("no answer before the deadline")
        return UnavailableError(f"no connection to {self._options.url} before the deadline")

    def _fail(self, pending: list[PureFlight], reason: str) -> None:
        for each in pending:
            self._pending.pop(each.token, None)
            if not each.done():
                each.set_exception(UnavailableError(f"no answer from {self._options.url}: {reason}"))

    async def _on_connected(self) -> None:
        self._max_payload = self._client.max_payload
        self._inline_below = min(INLINE_BYTES, self._max_payload - HEADER_ROOM)
        self._outgoing_or_connected.set()

    async def _on_disconnected(self) -> None:
        lost = [each for each in self._pending.values() if each.sent]
        if self._closed or not lost:
            return
        _log.warning("lost the connection to %s with %d calls in flight", self._options.url, len(lost))
        self._fail(lost, "the connection was lost with the call in flight")
        # Sent once we are back: nobody waits for that work any more.
        for each in lost:
            self._send_cancel(each)

    async def _on_closed(self) -> None:
        """Begin again: nats-py gives up for good after some errors that pass, such as too many connections."""
        if not self._closed and (self._reopening is None or self._reopening.done()):
            self._reopening = self.loop.create_task(self._reopen(), name="npufleet-pure-reopen")

    async def _reopen(self) -> None:
        while True:
            try:
                await self._open()
            except UnavailableError as error:
                _log.warning("%s", error)
                await asyncio.sleep(connection.RECONNECT_WAIT_S)
            else:
                return
