"""From a message to an accepted request, or to a refusal at once."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from npufleet import operations
from npufleet.errors import (
    DeadlineExceededError,
    FleetError,
    InvalidParameterError,
    OverloadedError,
    UnsupportedError,
)
from npufleet.payload.exchange import AT_ONCE_BYTES, ZEROMQ, reader_of
from npufleet.wire import dtype as dtypes
from npufleet.wire import frame, header, subject
from npufleet.wire.claim import Claim
from npufleet.wire.contract import LANES
from npufleet.worker.fetching import Fetching
from npufleet.worker.request import Outcome, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from nats.aio.msg import Msg
    from numpy.typing import NDArray

    from npufleet.payload.exchange import Exchange
    from npufleet.telemetry.worker import WorkerTracing
    from npufleet.worker.endpoint import Endpoint
    from npufleet.worker.queue import RequestQueue

DEFAULT_SECONDS: Final = 30.0
"""How long a request without a deadline is worked on, from its arrival."""

MINIMUM_RETRY_AFTER: Final = 0.001

_LANE_INDEX: Final = {name: index for index, name in enumerate(LANES)}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a frame's header alone decides: checked parameters, and what its requests have in common as a batch."""

    params: dict[str, Any]
    signature: Hashable


class Intake:
    """Decodes, checks and admits; whatever is refused goes to `answer` right away."""

    def __init__(
        self,
        queue: RequestQueue,
        executors: int,
        tracing: WorkerTracing,
        exchange: Exchange,
        answer: Callable[[Outcome], None],
    ) -> None:
        self._queue = queue
        self._executors = executors
        self._tracing = tracing
        self._exchange = exchange
        self._answer = answer
        self._prepared: dict[tuple[str, bytes], Prepared] = {}
        self.in_flight: dict[int, Request] = {}
        """Every accepted request that is not answered, by its identity."""
        self.by_call_id: dict[tuple[str, str], Request] = {}
        """The same by call id and route: a caller may send one call to both."""
        self._fetching: set[asyncio.Task[None]] = set()
        self.fetching = Fetching(exchange.remote)
        self.empty = asyncio.Event()
        """Set while nothing is in flight."""
        self.empty.set()

    async def receive_claim(self, endpoint: Endpoint, message: Msg) -> None:
        """Take a message in whose frame is in an arena: read the frame first, then as any other."""
        arrived = time.perf_counter_ns()
        data: bytes | FleetError
        headers = message.headers or {}
        try:
            claim = Claim.parse(headers[header.CLAIM])
            peers = self._exchange.peers
            if header.CHANNEL in headers and peers.find(claim.arena) is None:
                # Not awaited: a caller that stands still must hold up nobody else.
                task = asyncio.create_task(self._fetch(endpoint, message, headers, claim, arrived))
                self._fetching.add(task)
                self.empty.clear()
                task.add_done_callback(self._fetched)
                return
            if claim.length < AT_ONCE_BYTES:
                data = peers.read(claim)
            else:
                data = await asyncio.to_thread(peers.read, claim)
        except FleetError as error:
            data = error
        self.receive(endpoint, message, data, arrived, "arena")

    async def _fetch(
        self, endpoint: Endpoint, message: Msg, headers: dict[str, str], claim: Claim, arrived: int
    ) -> None:
        """Get a frame over the channel, and take its message in."""
        data: bytes | FleetError
        try:
            ends = _deadline(headers[header.DEADLINE]) if header.DEADLINE in headers else _default_deadline()
            call = subject.call_id(message.reply), endpoint.route
            data = await self.fetching.fetch(call, claim, headers[header.CHANNEL], ends)
        except FleetError as error:
            data = error
        self.receive(endpoint, message, data, arrived, ZEROMQ)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching.discard(task)
        self._look_whether_empty()

    def _look_whether_empty(self) -> None:
        if not self.in_flight and not self._fetching:
            self.empty.set()

    def receive(
        self,
        endpoint: Endpoint,
        message: Msg,
        fetched: bytes | FleetError | None = None,
        arrived: int = 0,
        placement: str = "inline",
    ) -> None:
        """Take one message in; it is answered now, or queued and answered later.

        `fetched` is the frame that it claims, or why there is none, `arrived` when it came, and `placement` which way.
        """
        arrived = arrived or time.perf_counter_ns()
        data = message.data if fetched is None else fetched
        if not message.reply:
            # Nobody would get the answer.
            return
        endpoint.statistics.requests += 1
        headers = message.headers or {}
        request = Request(
            endpoint=endpoint,
            lane=0,
            reply=message.reply,
            call_id=subject.call_id(message.reply),
            deadline=_default_deadline(),
            tensors={},
            params={},
            payload_bytes=0 if isinstance(data, FleetError) else len(data),
            rows=0,
            key=None,
            model=endpoint.model,
            arrived=arrived,
            decoded=arrived,
            fallback_reason=headers.get(header.FALLBACK_REASON),
            placement=placement,
            reader=reader_of(headers),
            caller=self._tracing.caller(headers),
        )
        if request.fallback_reason:
            endpoint.count_fallback(request.fallback_reason)
        try:
            self._check(request, message, headers, data)
            self._admit(request)
        except FleetError as error:
            request.decoded = time.perf_counter_ns()
            self._answer(Outcome(request, error=error))
            return
        if request.call_id is not None:
            self.by_call_id[request.call_id, endpoint.route] = request
        self._accept(request)

    def take_job(self, endpoint: Endpoint, lane: str, deadline: int, headers: dict[str, str], data: bytes) -> Request:
        """Take a job in, for which a place was free: its outcome is that of `done`; raises what is wrong with it."""
        arrived = time.perf_counter_ns()
        endpoint.statistics.requests += 1
        request = Request(
            endpoint=endpoint,
            lane=_LANE_INDEX[lane],
            reply="",
            call_id=None,
            deadline=deadline,
            tensors={},
            params={},
            payload_bytes=len(data),
            rows=0,
            key=None,
            model=endpoint.model,
            arrived=arrived,
            decoded=arrived,
            caller=self._tracing.caller(headers),
            estimate=endpoint.seconds,
            done=asyncio.get_running_loop().create_future(),
        )
        self._decode(request, data)
        self._accept(request)
        return request

    def _accept(self, request: Request) -> None:
        self.in_flight[id(request)] = request
        self.empty.clear()
        self._queue.put(request)

    def forget(self, request: Request) -> None:
        """Drop an answered request from the books."""
        self.in_flight.pop(id(request), None)
        self._look_whether_empty()
        if request.call_id is not None:
            key = request.call_id, request.endpoint.route
            if self.by_call_id.get(key) is request:
                del self.by_call_id[key]

    def _check(self, request: Request, message: Msg, headers: dict[str, str], data: bytes | FleetError) -> None:
        if header.DEADLINE in headers:
            request.deadline = _deadline(headers[header.DEADLINE])
        if request.expired():
            raise DeadlineExceededError("deadline passed before the request arrived")
        lane = message.subject.split(".")[request.endpoint.lane_token]
        request.lane = _LANE_INDEX[subject.check_lane(lane)]
        if isinstance(data, FleetError):
            raise data
        self._decode(request, data)

    def _decode(self, request: Request, data: bytes) -> None:
        tensors, params = frame.decode(data)
        prepared = self._prepare(request.endpoint, data, tensors, params)
        request.tensors, request.params = tensors, prepared.params
        self._check_model(request, prepared)
        request.decoded = time.perf_counter_ns()

    @staticmethod
    def _check_model(request: Request, prepared: Prepared) -> None:
        model = request.model = request.endpoint.choose(prepared.params)
        if model is None:
            found = operations.REGISTRY.get(request.endpoint.row.name)
            if found is None:
                raise UnsupportedError(f"{request.endpoint.row.name} is not done by this engine")
            request.rows = found.rows(request.tensors, request.params)
            return
        request.rows = model.check(request.tensors)
        request.key = (id(model), prepared.signature) if model.batches else None

    def _prepare(
        self, endpoint: Endpoint, data: bytes, tensors: dict[str, NDArray[Any]], params: dict[str, Any]
    ) -> Prepared:
        end = 8 + int.from_bytes(data[:8], "little")
        key = endpoint.row.name, data[:end]
        found = self._prepared.get(key)
        if found is not None:
            return found
        words = {name: dtypes.of(array.dtype) for name, array in tensors.items()}
        described = {name: (word.word, tensors[name].shape) for name, word in words.items() if word is not None}
        checked = endpoint.row.check(described, params)
        shapes = sorted((name, array.dtype.str, array.shape[1:]) for name, array in tensors.items())
        prepared = Prepared(checked, (tuple(shapes), json.dumps(checked, sort_keys=True)))
        return frame.remember(self._prepared, key, prepared) if end <= frame.CACHED_HEADER else prepared

    def _admit(self, request: Request) -> None:
        request.estimate = request.endpoint.seconds
        queue = self._queue
        wait = queue.work_before(request.lane) / self._executors
        if len(queue) >= queue.limit:
            raise _overloaded(f"{queue.limit} requests wait already; allowed: {queue.limit}", wait)
        if time.time() + wait > request.deadline / 1e6:
            raise _overloaded(f"would start in {wait:.3f} s, which is after its deadline", wait)


def _overloaded(message: str, wait: float) -> OverloadedError:
    return OverloadedError(message, retry_after=max(wait, MINIMUM_RETRY_AFTER))


def _default_deadline() -> int:
    return int((time.time() + DEFAULT_SECONDS) * 1e6)


def _deadline(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise InvalidParameterError(f"header {header.DEADLINE} is {text[:80]!r}; allowed: unix microseconds")
    return int(text)
