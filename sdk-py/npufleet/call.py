"""One call from arguments to result: check, send, wait, and nothing else while all goes well.

The common case is one request and one good reply, and nothing else may cost it anything: what follows any other
reply is decided in `recovery`, and one coarse timer asks the fallback engine where half of a call's time has passed.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, time
from typing import TYPE_CHECKING, Final, NamedTuple

from npufleet.errors import FleetError, InvalidParameterError
from npufleet.recovery import NEVER, Recovery
from npufleet.result import Result
from npufleet.statistics import Counters, Statistics
from npufleet.telemetry.spans import start_call
from npufleet.transport import Reply
from npufleet.transport.sweep import Sweep
from npufleet.wire import contract, header
from npufleet.wire.frame import reader_of
from npufleet.wire.prepare import prepare
from npufleet.wire.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npufleet.recovery import Diagnose
    from npufleet.transport import Transport

_log = logging.getLogger(__name__)

Future = asyncio.Future[Reply]
TIMEOUT_S: Final = 30.0
TIMEOUT_LIMIT_S: Final = 7 * 24 * 3600.0
ROUTES: Final = 1024


class Route(NamedTuple):
    """Where the requests for one operation, model and lane go."""

    operation: contract.Operation
    model: str | None
    call: str
    fallback: str


class Request(NamedTuple):
    """What another engine needs to do the same work, and from when on it is asked (monotonic clock)."""

    half: float
    route: Route
    frame: bytes
    deadline_us: int
    headers: dict[str, str] | None


class Caller:
    """Calls over one transport, and those that are in flight: the part of `AsyncFleet` that has to be fast."""

    def __init__(self, transport: Transport, prefix: str, diagnose: Diagnose) -> None:
        loop = asyncio.get_running_loop()
        self._transport = transport
        self._prefix = prefix
        self._counters = Counters()
        self._diagnose = diagnose
        self._routes: dict[tuple[str, str | None, str], Route] = {}
        self._request = transport.request
        # By the future that is awaited: a Request, or on the hot path a tuple like one.
        self._flights: dict[Future, tuple[float, Route, bytes, int, dict[str, str] | None]] = {}
        self._hedges: dict[Future, Future] = {}
        self._half_times = Sweep(loop, self._ask_fallback)

    async def call(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - it travels with the request as its deadline
        lane: str = contract.DEFAULT_LANE,
    ) -> Result:
        """Run an operation on the fleet and return its result.

        `tensors` maps names to arrays, or is one array where the operation declares one input; an array is anything
        with DLPack, the buffer protocol or `__array__`. `model` is for `infer`. `timeout` is in seconds, `lane` one
        of realtime, critical, high, normal, low. What the contract does not allow is refused before it is sent.
        """
        route = self._routes.get((operation, model, lane)) or self._route(operation, model, lane)
        try:
            in_time = 0.0 < timeout <= TIMEOUT_LIMIT_S
        except TypeError:
            in_time = False
        if not in_time:
            raise InvalidParameterError(f"timeout is {timeout}; allowed: above 0 to {TIMEOUT_LIMIT_S:.0f} s")
        frame = prepare(route.operation, tensors, params)
        counters = self._counters
        counters.calls += 1
        span = start_call(operation, route.call, lane)
        headers = None if span is None else span.headers
        deadline_us = int((time() + timeout) * 1e6)
        flights = self._flights
        try:
            future = self._request(route.call, frame, deadline_us, headers)
            half = monotonic() + timeout * 0.5
            flights[future] = (half, route, frame, deadline_us, headers)
            if half < self._half_times.next:
                self._half_times.at(half)
            try:
                reply = await future
            except BaseException:
                self._drop(future)
                raise
            finally:
                del flights[future]
            if not reply.payload:
                reply = await self._recover(reply, future, Request(half, route, frame, deadline_us, headers))
            elif self._hedges:
                self._drop(self._hedges.pop(future, None))
            if span is None:
                result = Result(reply, reader_of(reply.payload))
            else:
                with span.result():
                    result = Result(reply, reader_of(reply.payload), span.trace_id)
                    len(result)  # makes the arrays, so that the span shows what that takes
        except (FleetError, asyncio.CancelledError) as error:
            kind = error.kind if isinstance(error, FleetError) else "cancelled"
            counters.failed(kind)
            if span is not None:
                span.end(kind, engine=getattr(error, "engine", None))
            raise
        engine = reply.header(header.ENGINE)
        reason = reply.header(header.FALLBACK_REASON)
        try:
            counters.engines[engine] += 1
        except KeyError:
            counters.engines[engine] = 1
        if reason is not None:
            counters.fell_back(reason)
        if span is not None:
            span.end(None, reason, engine, result.device)
        return result

    def statistics(self) -> Statistics:
        """Return what has been counted since the connection was opened."""
        return self._counters.snapshot()

    def _stop_calls(self) -> None:
        """Stop the timer; the transport ends what is in flight."""
        self._half_times.stop()

    async def _recover(self, reply: Reply, future: Future, request: Request) -> Reply:
        """Follow up a reply without a frame until there is a good one; raises what the caller has to know."""
        recovery = Recovery(self._transport, self._counters, self._diagnose, request)
        while not reply.payload:
            hedge = self._hedges.pop(future, None)
            try:
                future = await recovery.after(reply, hedge)
            except BaseException:
                self._drop(hedge)
                raise
            # Asked twice, the fallback engine would not answer sooner.
            half = NEVER if recovery.fallen_back else request.half
            self._flights[future] = request._replace(half=half)
            self._half_times.at(half)
            try:
                reply = await future
            except BaseException:
                self._drop(future)
                raise
            finally:
                del self._flights[future]
        self._drop(self._hedges.pop(future, None))
        return reply

    def _route(self, operation: str, model: str | None, lane: str) -> Route:
        row = contract.operation(operation)
        if row.model and model is None:
            raise InvalidParameterError(f"model is None for {operation}; allowed: the name of a registered model")
        subject = Subject(operation, model, "call", lane)
        fallback = Subject(operation, model, "fallback", lane)
        route = Route(row, model, subject.format(self._prefix), fallback.format(self._prefix))
        if len(self._routes) >= ROUTES:
            self._routes.clear()  # a program with this many models does not notice
        self._routes[operation, model, lane] = route
        return route

    def _ask_fallback(self) -> float | None:
        """Send the calls that have waited for half of their time to the fallback engine too."""
        now, earliest = monotonic(), NEVER
        for future, flight in list(self._flights.items()):
            if flight[0] > now:
                earliest = min(earliest, flight[0])
            elif not future.done():
                request = Request(*flight)._replace(half=NEVER)
                self._flights[future] = request
                self._hedge(future, request)
        return earliest if earliest < NEVER else None

    def _hedge(self, first: Future, request: Request) -> None:
        headers = {**(request.headers or {}), header.FALLBACK_REASON: "no_answer"}
        try:
            second = self._transport.request(request.route.fallback, request.frame, request.deadline_us, headers)
        except FleetError as error:
            _log.warning("no answer for %s, and the fallback cannot be asked: %s", request.route.call, error)
            return
        self._hedges[first] = second
        second.add_done_callback(lambda _: self._answered_by_fallback(first, second))

    def _answered_by_fallback(self, first: Future, second: Future) -> None:
        """Give a good answer of the fallback engine to the caller, and stop the first engine."""
        # The exception is taken first: asyncio reports those that nobody has looked at.
        if second.cancelled() or second.exception() is not None or first.done():
            return
        if second.result().payload:
            first.set_result(second.result())
            self._transport.cancel(first)

    def _drop(self, future: Future | None) -> None:
        """Cancel a request and the one that the fallback engine got for the same call."""
        while future is not None:
            self._transport.cancel(future)
            future = self._hedges.pop(future, None)
