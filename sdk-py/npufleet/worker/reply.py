"""Answers: built and published on the event loop, in the order in which they are ready."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.errors import CallCancelledError, DeadlineExceededError, FleetError, OverloadedError, PayloadTooLargeError
from npufleet.payload.exchange import HEADER_ROOM, ZEROMQ
from npufleet.telemetry.worker import Step
from npufleet.wire import header

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    from npufleet.payload.exchange import Exchange, Loan
    from npufleet.telemetry.worker import WorkerTracing
    from npufleet.worker.request import Outcome, Request

ENGINE: Final = "python"

_log = logging.getLogger(__name__)
_BLOCK_START: Final = len(b"NATS/1.0\r\n\r\n")
_PER_HEADER: Final = len(b": \r\n")


class Replies:
    """Publishes outcomes; each request is answered once, by whichever outcome comes first."""

    def __init__(
        self, client: Client, tracing: WorkerTracing, exchange: Exchange, forget: Callable[[Request], None]
    ) -> None:
        self._client = client
        self._exchange = exchange
        self._tracing = tracing
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Outcome] = deque()
        self._from_threads: deque[list[Outcome]] = deque()
        self._wake = asyncio.Event()
        self._stopped = False
        self.served = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def add(self, outcome: Outcome) -> None:
        """Answer a request from the event loop; later outcomes of it are dropped."""
        request = outcome.request
        if request.answered:
            _take_back(outcome)
            return
        request.answered = True
        self._forget(request)
        if request.done is not None:
            if not request.done.done():
                request.done.set_result(outcome)
            return
        self._ready.append(outcome)
        self.idle.clear()
        self._wake.set()

    def deliver(self, outcomes: list[Outcome]) -> None:
        """Hand over the outcomes of a batch from an executor's thread."""
        for outcome in outcomes:
            self._lend(outcome)
        first = not self._from_threads
        self._from_threads.append(outcomes)
        if first:
            # Later ones are seen by the same wake-up.
            self._loop.call_soon_threadsafe(self._collect)

    def _lend(self, outcome: Outcome) -> None:
        """Put a large result into the arena for a caller that takes claims, on the thread that made it."""
        request = outcome.request
        if request.reader is None or request.answered:
            return
        room = self._client.max_payload - HEADER_ROOM
        outcome.loan = self._exchange.lend(outcome.frame, request.deadline, request.reader, room)
        if outcome.loan is not None:
            outcome.frame = b""

    def _collect(self) -> None:
        while self._from_threads:
            outcomes = self._from_threads.popleft()
            members = [outcome.request for outcome in outcomes]
            first = members[0]
            first.endpoint.count_batch(
                len(members), sum(request.rows for request in members), first.finished - first.started
            )
            for outcome in outcomes:
                # An operation that was told to stop says `cancelled`, whatever the reason was.
                late = outcome.error is None or isinstance(outcome.error, CallCancelledError)
                if late and outcome.request.expired():
                    outcome.error = DeadlineExceededError("deadline passed while the request was executed")
                self.add(outcome)

    def stop(self) -> None:
        """End `run` once what is ready is published."""
        self._stopped = True
        self._wake.set()

    async def run(self) -> None:
        """Publish answers until told to stop.

        Not by cancelling: nats-py may take a cancellation for its own and go on.
        """
        while not self._stopped:
            await self._wake.wait()
            self._wake.clear()
            while self._ready:
                await self._publish(self._ready.popleft())
            self.idle.set()

    async def _publish(self, outcome: Outcome) -> None:
        request = outcome.request
        started = time.perf_counter_ns()
        if outcome.error is None:
            headers = success(outcome)
            if outcome.loan is not None:
                headers[header.CLAIM] = str(outcome.loan.slot.claim)
                if outcome.loan.channel is not None:
                    headers[header.CHANNEL] = outcome.loan.channel
            size = len(outcome.frame) + _header_bytes(headers)
            if size > self._client.max_payload:
                outcome.error = PayloadTooLargeError.of(size, self._client.max_payload)
        if outcome.error is not None:
            _take_back(outcome)
            headers = failure(outcome.error)
            request.endpoint.count_error(outcome.error)
        if request.fallback_reason:
            headers[header.FALLBACK_REASON] = header.one_line(request.fallback_reason)
        try:
            await self._client.publish(request.reply, outcome.frame if outcome.error is None else b"", headers=headers)
        except (nats.errors.Error, OSError) as error:
            # The connection is lost or closing: the caller's own side of it tells the caller.
            _take_back(outcome)
            _log.warning("an answer of %s could not be sent: %s", request.endpoint.name, error or repr(error))
        self.served += 1
        if request.caller is not None:
            self._tracing.write(request.caller, steps(outcome, started, time.perf_counter_ns()))


def _take_back(outcome: Outcome) -> None:
    """Free the slot of a result that nobody will get."""
    if outcome.loan is not None:
        outcome.loan.slot.free()
        outcome.loan = None


def success(outcome: Outcome) -> dict[str, str]:
    """Return the headers that go with a result: who did it, and where the time went."""
    request = outcome.request
    timing = header.Timing(
        queued=(request.dequeued - request.decoded) // 1000,
        fetching=(request.decoded - request.arrived) // 1000,
        batching=(request.started - request.dequeued) // 1000,
        executing=(request.finished - request.started) // 1000,
    )
    headers = {header.ENGINE: ENGINE, header.DEVICE: outcome.device or "CPU", header.TIMING: str(timing)}
    if request.placement == ZEROMQ:
        headers[header.PLACEMENT] = request.placement
    return headers


def failure(error: FleetError) -> dict[str, str]:
    """Return the headers that say what went wrong."""
    headers = {
        header.ERROR: header.one_line(str(error)) or error.kind,
        header.ERROR_CODE: str(error.code),
        header.ERROR_KIND: error.kind,
        header.ENGINE: ENGINE,
    }
    if isinstance(error, OverloadedError) and error.retry_after is not None:
        headers[header.RETRY_AFTER] = str(int(error.retry_after * 1e6))
    return headers


def _placement(loan: Loan | None) -> str:
    if loan is None:
        return "inline"
    return "arena" if loan.channel is None else "zeromq"


def _header_bytes(headers: dict[str, str]) -> int:
    # The server counts them as part of the payload.
    return _BLOCK_START + sum(len(name) + len(value.encode()) + _PER_HEADER for name, value in headers.items())


def steps(outcome: Outcome, publishing: int, published: int) -> list[Step]:
    """Return the spans of an answered request; the times of its publishing are readings of `time.perf_counter_ns`."""
    request = outcome.request
    # Spans carry wall-clock time; the readings are of a clock that never jumps.
    epoch = time.time_ns() - time.perf_counter_ns()
    kind = outcome.error.kind if outcome.error else None

    def step(name: str, start: int, end: int, attributes: dict[str, Any], **more: Any) -> Step:
        return Step(name, epoch + start, epoch + max(start, end), attributes, **more)

    endpoint = request.endpoint
    where = {
        "messaging.system": "nats",
        "messaging.destination.name": endpoint.subject,
        "messaging.operation.name": "receive",
        "npufleet.operation": endpoint.row.name,
        **({"npufleet.fallback.reason": request.fallback_reason} if request.fallback_reason else {}),
    }
    fetched = {"npufleet.payload.placement": request.placement, "npufleet.payload.bytes": request.payload_bytes}
    steps = [
        step("receive", request.arrived, request.dequeued or request.decoded, where),
        step("payload.fetch", request.arrived, request.decoded, fetched),
    ]
    if request.started:
        links = [link for link in outcome.links if link is not request.caller]
        batched = {"npufleet.batch.rows": outcome.rows, "npufleet.batch.members": outcome.members}
        steps.append(step("batch", request.dequeued, request.started, batched, links=links))
        executed = {
            "npufleet.engine": ENGINE,
            "npufleet.device": outcome.device or "CPU",
            "npufleet.rows": request.rows,
        }
        if request.model is not None:
            executed["npufleet.model"] = request.model.name
        # Answered while it runs (cancelled, expired): the end is not known yet.
        end = request.finished or publishing
        steps.append(step("execute", request.started, end, executed, error_kind=kind))
        kind = None
    for done in outcome.steps:
        told = {"npufleet.engine": ENGINE, "npufleet.operation": done.operation}
        if done.model is not None:
            told["npufleet.model"] = done.model
        steps.append(step(f"execute {done.operation}", done.start, done.end, told, error_kind=done.error_kind))
    answered = {} if outcome.error else {"npufleet.payload.placement": _placement(outcome.loan)}
    steps.append(step("reply", publishing, published, answered, error_kind=kind))
    return steps
