"""The transport without compiled code: nats-py, one inbox subscription, one task that writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import nats.errors
from nats.nuid import NUID

from npufleet.errors import DeadlineExceededError, FleetError, PayloadTooLargeError, UnavailableError
from npufleet.transport import Reply, connection
from npufleet.transport.sweep import Sweep
from npufleet.wire import header
from npufleet.wire import subject as subjects

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from npufleet.transport.options import ConnectOptions

_log = logging.getLogger(__name__)

_NEVER: Final = 1 << 63
_HEADER_ROOM: Final = 4096
"""Below max_payload by this much, a request cannot be too large whatever its headers are."""


async def open(options: ConnectOptions) -> PureTransport:  # noqa: A001 - the name that both transports share
    """Connect, or raise `UnavailableError` with the address and a hint."""
    transport = PureTransport(options)
    await transport.start()
    return transport


class PureReply:
    """A message from nats-py as a `Reply`."""

    __slots__ = ("_headers", "payload")

    def __init__(self, message: Msg) -> None:
        self.payload: bytes = message.data
        self._headers = message.headers

    @property
    def status(self) -> int:
        """503 when nobody subscribes to the subject, 0 for an answer."""
        return int(self._headers.get("Status", 0)) if self._headers and not self.payload else 0

    def header(self, name: str) -> str | None:
        """One header, or None."""
        return self._headers.get(name) if self._headers else None


class _Pending(asyncio.Future[Reply]):
    """The future of one request, with what the sweeper and a lost connection need to know."""

    __slots__ = ("deadline_us", "sent", "token")

    token: str
    deadline_us: int
    sent: bool


class PureTransport:
    """Requests over one nats-py connection; answers come back on one inbox and are matched by their last token."""

    name = "pure"

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._client = connection.Client()
        self._id = NUID().next().decode()
        self._inbox = f"{options.inbox_prefix}.{self._id}."
        self._sequence = 0
        self._max_payload = self._surely_fits = 0
        self._pending: dict[str, _Pending] = {}
        self._outgoing: deque[tuple[_Pending | None, str, bytes, str, dict[str, str] | None]] = deque()
        self._outgoing_or_connected = asyncio.Event()
        self._deadlines = Sweep(self._loop, self._expire)
        self._next_deadline_us = _NEVER
        self._writer: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Connect, subscribe to the inbox, and begin to write."""
        await self._open()
        self._writer = self._loop.create_task(self._write(), name="npufleet-pure-writer")

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

    def request(
        self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None = None
    ) -> asyncio.Future[Reply]:
        """Queue a request for the writer; see `Transport.request`."""
        if self._closed:
            raise UnavailableError(f"the connection to {self._options.url} is closed")
        fields = {header.DEADLINE: str(deadline_us)}
        if headers is not None:
            fields.update(headers)
        if len(frame) > self._surely_fits:
            size = len(frame) + _header_bytes(fields)
            if size > self._max_payload:
                raise PayloadTooLargeError.of(size, self._max_payload)
        self._sequence += 1
        pending = _Pending(loop=self._loop)
        pending.token = token = str(self._sequence)
        pending.deadline_us = deadline_us
        pending.sent = False
        self._pending[token] = pending
        self._outgoing.append((pending, subject, frame, self._inbox + token, fields))
        self._outgoing_or_connected.set()
        if deadline_us < self._next_deadline_us:
            self._next_deadline_us = deadline_us
            self._deadlines.at(time.monotonic() + deadline_us / 1e6 - time.time())
        return pending

    def cancel(self, future: asyncio.Future[Reply]) -> None:
        """Forget a request and tell the workers to drop it."""
        if not isinstance(future, _Pending):
            return
        known = self._pending.pop(future.token, None)
        future.cancel()
        if known is not None and future.sent and not self._closed:
            self._send_cancel(future)

    async def close(self) -> None:
        """Fail what is in flight with `UnavailableError` and disconnect; may be repeated."""
        self._closed = True
        self._deadlines.stop()
        tasks = [task for task in (self._writer, self._reopening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(list(self._pending.values()), "the connection was closed by this program")
        await self._client.close()

    def _send_cancel(self, pending: _Pending) -> None:
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
        if pending is not None and not pending.done():
            pending.set_result(PureReply(message))

    def _expire(self) -> float | None:
        """Fail the requests whose deadline has passed; return when the next one does."""
        now = time.time()
        earliest = _NEVER
        for pending in list(self._pending.values()):
            if pending.deadline_us > now * 1e6:
                earliest = min(earliest, pending.deadline_us)
                continue
            del self._pending[pending.token]
            if not pending.done():
                pending.set_exception(self._late(pending))
            if pending.sent:
                self._send_cancel(pending)
        self._next_deadline_us = earliest
        return time.monotonic() + earliest / 1e6 - now if earliest < _NEVER else None

    def _late(self, pending: _Pending) -> FleetError:
        if pending.sent:
            return DeadlineExceededError("no answer before the deadline")
        return UnavailableError(f"no connection to {self._options.url} before the deadline")

    def _fail(self, pending: list[_Pending], reason: str) -> None:
        for each in pending:
            self._pending.pop(each.token, None)
            if not each.done():
                each.set_exception(UnavailableError(f"no answer from {self._options.url}: {reason}"))

    async def _on_connected(self) -> None:
        self._max_payload = self._client.max_payload
        self._surely_fits = self._max_payload - _HEADER_ROOM
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
            self._reopening = self._loop.create_task(self._reopen(), name="npufleet-pure-reopen")

    async def _reopen(self) -> None:
        while True:
            try:
                await self._open()
            except UnavailableError as error:
                _log.warning("%s", error)
                await asyncio.sleep(connection.RECONNECT_WAIT_S)
            else:
                return


def _header_bytes(headers: dict[str, str]) -> int:
    """Size of a message's header block, which the broker counts against max_payload."""
    return len(b"NATS/1.0\r\n\r\n") + sum(
        len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items()
    )
