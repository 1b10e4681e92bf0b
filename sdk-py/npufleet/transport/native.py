"""The transport over the compiled core: a thread of its own speaks to the broker, this loop only resolves futures."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from npufleet.errors import from_kind

if TYPE_CHECKING:
    from npufleet import _native
    from npufleet.transport import Reply
    from npufleet.transport.options import ConnectOptions


class NativeTransport:
    """A connection to the broker, bound to the event loop that opened it; see `Transport`."""

    name = "native"

    def __init__(self, client: _native.Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self._create_future = loop.create_future
        self._submit = client.submit
        self._flushing = False
        self._closed = False
        loop.add_reader(client.fileno(), self._resolve)

    @property
    def max_payload(self) -> int:
        """Bytes the broker takes in one message, headers included."""
        return self._client.max_payload

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""
        return self._client.state

    def request(
        self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None = None
    ) -> asyncio.Future[Reply]:
        """Send a frame and return the future of its reply; see `Transport.request`."""
        # Not a subclass that knows its number: asyncio awaits only its own class by the fast path.
        future: asyncio.Future[Reply] = self._create_future()
        self._submit(subject, frame, deadline_us, headers, future)
        if not self._flushing:
            # The calls that other tasks make in this turn of the loop leave together with this one.
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def cancel(self, future: asyncio.Future[Reply]) -> None:
        """Forget a request and tell the workers to drop it; a future that is done is left as it is."""
        self._client.cancel(future)
        future.cancel()

    async def close(self) -> None:
        """Fail what is in flight with `UnavailableError` and disconnect; closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._client.fileno())
        try:
            await self._loop.run_in_executor(None, self._client.close)
        except RuntimeError:
            # The interpreter is ending, and gives no work to threads any more.
            self._client.close()
        self._resolve()

    def _flush(self) -> None:
        self._flushing = False
        self._client.flush()

    def _resolve(self) -> None:
        for future, outcome in self._client.drain():
            # The awaiting task may have been cancelled without anybody telling us.
            if future.done():
                continue
            if type(outcome) is tuple:
                kind, message = outcome
                future.set_exception(from_kind(kind, message))
            else:
                future.set_result(outcome)


async def open(options: ConnectOptions) -> NativeTransport:  # noqa: A001  (the name that both transports share)
    """Connect; raises `UnavailableError` when the broker cannot be reached or refuses us."""
    from npufleet import _native

    loop = asyncio.get_running_loop()
    client = await loop.run_in_executor(None, _native.Client, json.dumps(options.as_dict()))
    return NativeTransport(client, loop)
