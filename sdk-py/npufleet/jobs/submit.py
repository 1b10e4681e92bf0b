"""From arguments to a message that the broker has stored."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from npufleet.broker import streams
from npufleet.errors import (
    FleetError,
    InvalidParameterError,
    OverloadedError,
    PayloadTooLargeError,
    UnavailableError,
    UnknownOutcomeError,
)
from npufleet.jobs import schedule
from npufleet.telemetry.spans import start_call
from npufleet.transport import jetstream, payloads
from npufleet.wire import contract, header, job
from npufleet.wire.job import JobRequest
from npufleet.wire.prepare import prepare
from npufleet.wire.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nats.aio.client import Client

    from npufleet.control import Control
    from npufleet.jobs.wish import Wish
    from npufleet.transport import Flight

ANSWER_S: Final = 2.0
ABSENT_S: Final = 1.0
"""A stream that is missing this long does not exist; one that is shorter may still be loading.

In a cluster it may be without a leader for longer, so there one goes on trying.
"""

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0


class Message(NamedTuple):
    """A job as it is sent; a frame that is too large for the message is `payload`, and goes ahead of it."""

    job_id: str
    operation: str
    model: str | None
    lane: str
    subject: str
    headers: dict[str, str]
    frame: bytes
    trace_id: str | None
    payload: bytes | None = None
    stream: str = streams.JOBS


class Draft:
    """What jobs on different tensors have in common, checked once; `request` is that, without an id.

    Raises what a call raises before it is sent.
    """

    def __init__(
        self,
        operation: str,
        params: Mapping[str, object] | None,
        model: str | None,
        wish: Wish,
        *,
        prefix: str,
        notify: str,
    ) -> None:
        self._row = contract.operation(operation)
        Subject(operation, model, "call", wish.lane).format(prefix)
        if not 0.001 <= wish.attempt_timeout <= 7 * 86400:
            raise InvalidParameterError(f"attempt_timeout is {wish.attempt_timeout}; allowed: 0.001 to 604800 s")
        deadline = schedule.moment("deadline", wish.deadline)
        if deadline is not None and wish.every is not None:
            raise InvalidParameterError("deadline and every are both given; allowed: one of them")
        request = JobRequest(
            job_id="",
            operation=operation,
            model=model,
            lane=wish.lane,
            deadline=None if deadline is None else int(deadline * 1e6),
            retries=job.check_retries(wish.retries),
            attempt_timeout=wish.attempt_timeout,
            notify=notify,
        )
        self._params = params
        self.request = request
        self.subject = request.subject(prefix)
        self._repeated = wish.every is not None
        self._headers = request.headers()
        self._address = _Address(request, prefix, schedule.schedule(wish.run_at, wish.every))

    @property
    def main_input(self) -> str | None:
        """The name of the tensor that a bare array is."""
        return self._row.main_name

    def notify(self, inbox: str) -> None:
        """Have it said to this subject that a job is over."""
        self._headers[header.NOTIFY] = inbox

    def shared(self) -> dict[str, str]:
        """Return the headers that all of its jobs have."""
        own = (header.JOB_ID, header.SUBMITTED)
        given = self._headers | {jetstream.EXPECTED_STREAM: streams.JOBS}
        return {name: value for name, value in given.items() if name not in own}

    def frame(self, tensors: object) -> bytes:
        """Return the frame of the job on these tensors."""
        return prepare(self._row, tensors, self._params)

    def message(
        self,
        tensors: object,
        *,
        job_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        traced: Mapping[str, str] | None = None,
    ) -> Message:
        """Return the message of the job on these tensors, with further headers.

        `job_id` is given where it is not one at random, and the trace's headers `traced` where the job belongs to a
        span that is open already.
        """
        frame = self.frame(tensors)
        if self._repeated and len(frame) > job.INLINE_BYTES:
            # Its payload would have to outlive every run.
            raise PayloadTooLargeError.of(len(frame), job.INLINE_BYTES)
        return self.message_of(frame, job_id or job.new_id(), headers or {}, traced)

    def message_of(
        self, frame: bytes, job_id: str, headers: Mapping[str, str], traced: Mapping[str, str] | None = None
    ) -> Message:
        """Return the message of the job on a frame; see `message`."""
        own = {header.JOB_ID: job_id, header.SUBMITTED: str(job.now_us())}
        return self._address.message(job_id, {**self._headers, **own, **headers}, frame, traced)


def message_of(
    request: JobRequest,
    frame: bytes,
    *,
    prefix: str,
    route: str = "job",
    traced: Mapping[str, str] | None = None,
) -> Message:
    """Return the message of one job that has been checked; the route `flow` is that of a plan.

    With `traced` the job belongs to a span that is open already.
    """
    return _Address(request, prefix, route=route).message(request.job_id, request.headers(), frame, traced)


class _Address:
    """Where jobs go that differ in their ids and frames only; `when` is the broker's word for a schedule."""

    def __init__(self, request: JobRequest, prefix: str, when: str | None = None, route: str = "job") -> None:
        self._request = request
        self._prefix = prefix
        self._subject: str | None = request.subject(prefix, route)
        self._stream = streams.FLOWS if route == "flow" else streams.JOBS
        self._headers: dict[str, str] = {}
        if when is not None:
            self._subject, self._stream = None, streams.SCHEDULES
            self._headers = {
                schedule.HEADER: when,
                schedule.TARGET: request.subject(prefix, "due"),
                schedule.TTL[0]: schedule.TTL[1],
            }
        self._headers[jetstream.EXPECTED_STREAM] = self._stream

    def message(
        self, job_id: str, headers: dict[str, str], frame: bytes, traced: Mapping[str, str] | None = None
    ) -> Message:
        """Return the message of one job; what this adds to its headers is added in place."""
        operation, model, lane = self._request.operation, self._request.model, self._request.lane
        headers |= self._headers
        if self._subject is None:
            subject = job.schedule_subject(job_id, self._prefix)
        else:
            subject = self._subject
            headers[header.MESSAGE_ID] = job_id
        trace_id = None
        if traced is not None:
            headers |= traced
        elif (span := start_call(operation, subject, lane, "submit")) is not None:
            headers |= span.headers
            span.end()
            trace_id = span.trace_id
        payload = None
        if len(frame) > job.INLINE_BYTES:
            headers[header.PAYLOAD] = str(payloads.reference(f"{job_id}.{payloads.INPUT}", frame))
            frame, payload = b"", frame
        return Message(job_id, operation, model, lane, subject, headers, frame, trace_id, payload, self._stream)


async def store(control: Control, prefix: str, message: Message, seconds: float, begun: Flight | None = None) -> None:
    """Have the broker store one job, trying again while it is not known; returns when the broker has it.

    `begun` is the same message where a transport has sent it already.
    Raises `OverloadedError` when the stream is full, `UnavailableError` when nothing could be sent, and
    `UnknownOutcomeError` when something was sent and no answer came in `seconds`.
    """
    await upload(control, prefix, message, seconds)

    async def once(client: Client) -> Any:
        return await jetstream.publish(
            client, message.stream, message.subject, message.frame, message.headers, min(ANSWER_S, seconds)
        )

    await insist(control, after(begun, message.stream, once), message.job_id, seconds)


async def upload(control: Control, prefix: str, message: Message, seconds: float) -> None:
    """Store a frame that is too large for its message, before that; raises as `store` does."""
    data = message.payload
    if data is None:
        return
    path = f"{message.job_id}.{payloads.INPUT}"

    async def once(client: Client) -> Any:
        return await payloads.put(client, prefix, path, data)

    try:
        await insist(control, once, message.job_id, seconds)
    except UnknownOutcomeError as error:
        # Without its message, a payload is no job.
        raise UnavailableError(f"the payload could not be stored: {error}") from error


def after(begun: Flight | None, stream: str, once: Callable[[Client], Awaitable[Any]]) -> Callable[[Client], Any]:
    """Return what does the same as `once`, but the first time waits for what a transport has begun, if it has."""

    async def attempt(client: Client) -> Any:
        nonlocal begun
        if begun is None:
            return await once(client)
        first, begun = begun, None
        return await jetstream.acknowledgement(first, stream)

    return attempt


async def insist(control: Control, once: Callable[[Client], Awaitable[Any]], job_id: str | None, seconds: float) -> Any:
    """Do something that may be repeated until its outcome is known; see `store` for what is raised."""
    started = time.monotonic()
    pause = FIRST_PAUSE_S
    uncertain = False
    last: FleetError
    while True:
        connected = False
        try:
            client = await control.client()
            connected = client.is_connected and not getattr(client, "clustered", False)
            return await once(client)
        except UnknownOutcomeError as error:
            uncertain, last = True, error
        except OverloadedError as error:
            if not uncertain:
                raise
            last = error
        except UnavailableError as error:
            last = error
        spent = time.monotonic() - started
        absent = connected and not uncertain and isinstance(last, UnavailableError) and spent > ABSENT_S
        if spent + pause > seconds or absent:
            if uncertain:
                what = f"whether job {job_id} was accepted" if job_id else "whether the jobs were accepted"
                raise UnknownOutcomeError(
                    f"{what} is unknown after {spent:.1f} s: {last}; repeating it with the same idempotency key "
                    "has one effect",
                    job_id=job_id,
                ) from last
            raise last
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)
