"""One call from arguments to result: check, send, wait, and nothing else while all goes well.

The common case is a request like one before and a good reply, and nothing else may cost it anything: the transport's
route begins it without another look, and what follows any other reply is decided in `recovery`.
"""

from __future__ import annotations

import asyncio
import logging
from time import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from npufleet.errors import FleetError, InvalidParameterError
from npufleet.recovery import Recovery
from npufleet.result import Result
from npufleet.statistics import Counters, Statistics
from npufleet.telemetry.spans import CallSpan, start_call
from npufleet.wire import contract, header
from npufleet.wire.prepare import parameters, prepare
from npufleet.wire.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from npufleet.recovery import Diagnose
    from npufleet.transport import Flight, Route, Transport

_log = logging.getLogger(__name__)

TIMEOUT_S: Final = 30.0
TIMEOUT_LIMIT_S: Final = 7 * 24 * 3600.0
ROUTES: Final = 1024


class Target(NamedTuple):
    """Where the requests for one operation, model and lane go."""

    operation: contract.Operation
    model: str | None
    call: str
    fallback: str


class Caller:
    """Calls over one transport, and those that are in flight: the part of `AsyncFleet` that has to be fast."""

    def __init__(self, transport: Transport, prefix: str, diagnose: Diagnose) -> None:
        self._transport = transport
        self._prefix = prefix
        self._counters = Counters()
        self._diagnose = diagnose
        self._routes: dict[tuple[str, str | None, str], tuple[Target, Route]] = {}
        self._hedges: dict[Flight, Flight] = {}
        transport.on_half_time(self._ask_fallback)

    def call(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        timeout: float = TIMEOUT_S,
        lane: str = contract.DEFAULT_LANE,
        **more: object,
    ) -> Coroutine[Any, Any, Result]:
        """Run an operation on the fleet and return its result.

        `tensors` maps names to arrays, or is one array where the operation declares one input; an array is anything
        with DLPack, the buffer protocol or `__array__`. Parameters may be given as keywords too. `model` is for
        `infer`. `timeout` is in seconds, `lane` one of realtime, critical, high, normal, low. What the contract does
        not allow is refused before it is sent.
        """
        # Handed on instead of awaited: each coroutine between a caller and its flight costs every call.
        return self._call(operation, tensors, params, model, timeout, lane, more)

    async def _call(
        self,
        operation: str,
        tensors: object,
        params: Mapping[str, object] | None,
        model: str | None,
        timeout: float,  # noqa: ASYNC109 - it travels with the request as its deadline
        lane: str,
        more: Mapping[str, object] | None = None,
        *,
        bare: bool = False,
    ) -> Any:
        """Do what `call` says; `bare` gives the arrays alone."""
        if more:
            params = parameters(params, more)
        target, route = self._routes.get((operation, model, lane)) or self._route(operation, model, lane)
        span = start_call(operation, target.call, lane)
        flight = route.begin(tensors, params, timeout, None if span is None else span.headers)
        if flight is None:
            if model is not None:
                await self._check_inputs(model, tensors, params)
            flight = self._begin(target, route, tensors, params, timeout, span)
        counters = self._counters
        counters.calls += 1
        try:
            await flight
            if not flight.plain or self._hedges:
                result = await self._finish(flight, target, span)
                return result.tensors() if bare else result
            if span is not None:
                result = self._answered(flight, span)
                answer = result.tensors() if bare else result
            else:
                answer = flight.tensors() if bare else Result(flight)
        except (FleetError, asyncio.CancelledError) as error:
            self._drop(flight)
            kind = error.kind if isinstance(error, FleetError) else "cancelled"
            counters.failed(kind)
            if span is not None:
                span.end(kind, engine=getattr(error, "engine", None))
            raise
        counters.engines["rust"] += 1
        return answer

    def statistics(self) -> Statistics:
        """Return what has been counted since the connection was opened."""
        return self._counters.snapshot(self._transport.placements)

    async def _check_inputs(self, model: str, tensors: object, params: Mapping[str, object] | None) -> None:
        """Refuse what a model does not take, where that is known."""

    def _begin(
        self,
        target: Target,
        route: Route,
        tensors: object,
        params: Mapping[str, object] | None,
        timeout: float,
        span: CallSpan | None,
    ) -> Flight:
        """Check a request and send it; the next like it will be begun by its route."""
        try:
            in_time = 0.0 < timeout <= TIMEOUT_LIMIT_S
        except TypeError:
            in_time = False
        if not in_time:
            raise InvalidParameterError(f"timeout is {timeout}; allowed: above 0 to {TIMEOUT_LIMIT_S:.0f} s")
        frame = prepare(target.operation, tensors, params)
        deadline_us = int((time() + timeout) * 1e6)
        headers = None if span is None else span.headers
        flight = self._transport.request(target.call, frame, deadline_us, headers, target, half_time=True)
        route.learn(tensors, params, frame)
        return flight

    @staticmethod
    def _answered(flight: Flight, span: CallSpan) -> Result:
        """Make a result of a plain reply, and close the span of its call."""
        result = Result(flight, span.trace_id)
        span.decode(result)
        span.end(None, None, "rust", flight.header(header.DEVICE), flight.placement)
        return result

    async def _finish(self, flight: Flight, target: Target, span: CallSpan | None) -> Result:
        """Make a result of any reply, asking again where that helps; raises what the caller has to know."""
        if not flight.payload:
            flight = await self._recover(flight, target)
        self._drop(self._hedges.pop(flight, None))
        if span is None:
            result = Result(flight)
            result.tensors()  # raises where the reply is no frame
        else:
            result = Result(flight, span.trace_id)
            span.decode(result)
        engine, reason = result.engine, result.fallback_reason
        self._counters.answered(engine, reason)
        if span is not None:
            span.end(None, reason, engine, result.device, flight.placement)
        return result

    async def _recover(self, flight: Flight, target: Target) -> Flight:
        """Follow up a reply without a frame until there is a good one."""
        recovery = Recovery(self._transport, self._counters, self._diagnose, target, flight)
        while not flight.payload:
            hedge = self._hedges.pop(flight, None)
            try:
                flight = await recovery.after(flight, hedge)
            except BaseException:
                self._drop(hedge)
                raise
            try:
                await flight
            except BaseException:
                self._drop(flight)
                raise
        return flight

    def _route(self, operation: str, model: str | None, lane: str) -> tuple[Target, Route]:
        row = contract.operation(operation)
        if row.model and model is None:
            raise InvalidParameterError(f"model is None for {operation}; allowed: the name of a registered model")
        call = Subject(operation, model, "call", lane).format(self._prefix)
        target = Target(row, model, call, Subject(operation, model, "fallback", lane).format(self._prefix))
        if len(self._routes) >= ROUTES:
            self._routes.clear()  # a program with this many models does not notice
        found = self._routes[operation, model, lane] = (target, self._transport.route(call, row.main_name, target))
        return found

    def _ask_fallback(self, first: Flight) -> None:
        """Send a call that has waited for half of its time to the fallback engine too."""
        headers = {**(first.headers or {}), header.FALLBACK_REASON: "no_answer"}
        target: Target = first.origin
        try:
            second = self._transport.request(target.fallback, first.frame, first.deadline_us, headers)
        except FleetError as error:
            _log.warning("no answer for %s, and the fallback cannot be asked: %s", target.call, error)
            return
        self._hedges[first] = second
        second.add_done_callback(lambda _: self._answered_by_fallback(first, second))

    @staticmethod
    def _answered_by_fallback(first: Flight, second: Flight) -> None:
        """Give a good answer of the fallback engine to the caller, and stop the first engine."""
        # The exception is taken first: asyncio reports those that nobody has looked at.
        if second.cancelled() or second.exception() is not None or first.done():
            return
        if second.payload:
            first.answer(second)

    def _drop(self, flight: Flight | None) -> None:
        """Cancel a request and the one that the fallback engine got for the same call."""
        while flight is not None:
            flight.cancel()
            flight = self._hedges.pop(flight, None)
