"""The transport over the compiled core: a thread of its own speaks to the broker, this loop only resolves flights."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from npufleet import _native
    from npufleet.transport import Flight, HalfTime
    from npufleet.transport.options import ConnectOptions


class NativeTransport:
    """A connection to the broker, bound to the event loop that opened it; see `Transport`."""

    name = "native"

    def __init__(self, client: _native.Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self._closed = False
        self.request = client.request
        self.on_half_time(lambda _: None)
        loop.add_reader(client.fileno(), client.resolve)

    @property
    def max_payload(self) -> int:
        """Bytes the broker takes in one message, headers included."""
        return self._client.max_payload

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""
        return self._client.state

    @property
    def placements(self) -> dict[str, int]:
        """How many requests went which way: `inline` through the broker, by `arena`."""
        inline, placed = self._client.placements
        return {"inline": inline, "arena": placed}

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array to fill and send: in shared memory, while there is room."""
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        block = self._client.make(size) if size else None
        return np.empty(shape, dtype) if block is None else np.frombuffer(memoryview(block), dtype).reshape(shape)

    def accept(self) -> bool:
        """Have results come by claim from now on where they can; see `Transport.accept`."""
        return self._client.accept()

    def on_half_time(self, half_time: HalfTime) -> None:
        """Call `half_time` with each flight that asked for it and has half of its time behind it."""
        loop, flush = self._loop, self._client.flush
        # The calls that other tasks make in this turn of the loop leave together.
        self._client.attach(loop, lambda: loop.call_soon(flush), half_time)

    def route(self, subject: str, main_input: str | None, origin: object) -> _native.Route:
        """Return the short way for requests to one subject; see `Transport.route`."""
        return self._client.route(subject, main_input, origin)

    def job_route(self, subject: str, main_input: str | None, headers: dict[str, str]) -> _native.JobRoute:
        """Return the short way for jobs to one subject; see `Transport.job_route`."""
        return self._client.job_route(subject, main_input, headers)

    def request_inline(
        self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None, origin: Any
    ) -> Flight:
        """Send a frame through the broker that was lost on another way."""
        return self._client.request(subject, frame, deadline_us, headers, origin, by_claim=False)

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
        # From a turn of the loop of its own: tasks go on inside, which they cannot while this one runs.
        self._loop.call_soon(self._client.resolve)
        await asyncio.sleep(0)


async def open(options: ConnectOptions) -> NativeTransport:  # noqa: A001  (the name that both transports share)
    """Connect; raises `UnavailableError` when the broker cannot be reached or refuses us."""
    from npufleet import _native

    loop = asyncio.get_running_loop()
    client = await loop.run_in_executor(None, _native.Client, json.dumps(options.as_dict()))
    return NativeTransport(client, loop)
