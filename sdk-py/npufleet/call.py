"""One call from arguments to result: check, send, wait, and nothing else while all goes well.

The common case is one request and one good reply, and nothing else may cost it anything: what follows any other
reply is decided in `recovery`, and one coarse timer asks the fallback engine where half of a call's time has passed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from npufleet.errors import FleetError, InvalidParameterError
from npufleet.recovery import NEVER, Recovery
from npufleet.result import Result
from npufleet.telemetry.spans import start_call
from npufleet.transport import Reply
from npufleet.transport.sweep import Sweep
from npufleet.wire import contract, header
from npufleet.wire.frame import decode
from npufleet.wire.prepare import prepare
from npufleet.wire.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npufleet.recovery import Diagnose
    from npufleet.statistics import Counters
    from npufleet.transport import Transport

_log = logging.getLogger(__name__)

Future = asyncio.Future[Reply]
TIMEOUT_LIMIT_S: Final = 7 * 24 * 3600.0


class Route(NamedTuple):
    """Where the requests for one operation, model and lane go."""

    operation: contract.Operation
    model: str | None
    call: str
    fallback: str


class Request(NamedTuple):
    """Everything that another engine needs to do the same work."""

    route: Route
    frame: bytes
    deadline_us: int
    headers: dict[str, str] | None


class Calls:
    """The calls in flight of one fleet object, over one transport."""

    def __init__(self, transport: Transport, prefix: str, counters: Counters, diagnose: Diagnose) -> None:
        loop = asyncio.get_running_loop()
        self._transport = transport
        self._prefix = prefix
        self._counters = counters
        self._diagnose = diagnose
        self._clock = loop.time
        self._routes: dict[tuple[str, str | None, str], Route] = {}
        self._flights: dict[Future, tuple[float, Request]] = {}
        self._hedges: dict[Future, Future] = {}
        self._half_times = Sweep(loop, self._ask_fallback)

    async def call(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None,
        model: str | None,
        timeout: float,  # noqa: ASYNC109 - it travels with the request as its deadline
        lane: str,
    ) -> Result:
        """See `AsyncFleet.call`."""
        route = self._routes.get((operation, model, lane)) or self._route(operation, model, lane)
        if not 0.0 < timeout <= TIMEOUT_LIMIT_S:
            raise InvalidParameterError(f"timeout is {timeout} s; allowed: above 0 to {TIMEOUT_LIMIT_S:.0f}")
        frame = prepare(route.operation, tensors, params)
        counters = self._counters
        counters.calls += 1
        span = start_call(operation, route.call, lane)
        request = Request(route, frame, int((time.time() + timeout) * 1e6), None if span is None else span.headers)
        try:
            reply = await self._reply(request, self._clock() + timeout * 0.5)
            engine = reply.header(header.ENGINE) or "unknown"
            reason = reply.header(header.FALLBACK_REASON)
            if span is None:
                result = Result(*decode(reply.payload), reply)
            else:
                with span.result():
                    result = Result(*decode(reply.payload), reply, span.trace_id)
        except (FleetError, asyncio.CancelledError) as error:
            kind = error.kind if isinstance(error, FleetError) else "cancelled"
            counters.errors[kind] += 1
            if span is not None:
                span.end(kind, engine=getattr(error, "engine", None))
            raise
        counters.answered += 1
        counters.engines[engine] += 1
        if reason is not None:
            counters.fallbacks[reason.partition(":")[0]] += 1
        if span is not None:
            span.end(None, reason, engine, result.device)
        return result

    def close(self) -> None:
        """Stop the timer; the transport ends what is in flight."""
        self._half_times.stop()

    async def _reply(self, request: Request, half: float) -> Reply:
        """Return the first good reply, cancelling what is still under way elsewhere."""
        flights, hedges, transport = self._flights, self._hedges, self._transport
        recovery = None
        future = transport.request(request.route.call, request.frame, request.deadline_us, request.headers)
        while True:
            flights[future] = (half, request)
            if half < self._half_times.next:
                self._half_times.at(half)
            try:
                reply = await future
            except BaseException:
                self._drop(future)
                raise
            finally:
                del flights[future]
            if reply.payload:
                if hedges:
                    self._drop(hedges.pop(future, None))
                return reply
            recovery = recovery or Recovery(transport, self._counters, self._diagnose, request)
            hedge = hedges.pop(future, None)
            try:
                future = await recovery.after(reply, hedge)
            except BaseException:
                self._drop(hedge)
                raise
            if recovery.fallen_back:
                half = NEVER

    def _route(self, operation: str, model: str | None, lane: str) -> Route:
        row = contract.operation(operation)
        if row.model and model is None:
            raise InvalidParameterError(f"model is None for {operation}; allowed: the name of a registered model")
        subject = Subject(operation, model, "call", lane)
        fallback = Subject(operation, model, "fallback", lane)
        route = Route(row, model, subject.format(self._prefix), fallback.format(self._prefix))
        self._routes[operation, model, lane] = route
        return route

    def _ask_fallback(self) -> float | None:
        """Send the calls that have waited for half of their time to the fallback engine too."""
        now, earliest = self._clock(), NEVER
        for future, (half, request) in list(self._flights.items()):
            if half > now:
                earliest = min(earliest, half)
            elif not future.done():
                self._flights[future] = (NEVER, request)
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
