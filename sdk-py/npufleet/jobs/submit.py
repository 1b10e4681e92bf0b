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

ANSWER_S: Final = 2.0
ABSENT_S: Final = 1.0
"""A stream that is missing this long does not exist; one that is shorter may still be loading.

In a cluster it may be without a leader for longer, so there one goes on trying.
"""

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0


class Message(NamedTuple):
    """A job as it is sent; a frame that is too large for the message is `payload`, and goes ahead of it."""

    request: JobRequest
    subject: str
    headers: dict[str, str]
    frame: bytes
    trace_id: str | None
    payload: bytes | None = None
    stream: str = streams.JOBS


def build(
    operation: str,
    tensors: object,
    params: Mapping[str, object] | None,
    model: str | None,
    wish: Wish,
    *,
    prefix: str,
    notify: str,
    job_id: str | None = None,
    traced: Mapping[str, str] | None = None,
) -> Message:
    """Check everything that a job is made of and return its message; raises what a call raises before it is sent.

    `job_id` and the trace's headers `traced` are given where the job is a part of something larger.
    """
    row = contract.operation(operation)
    Subject(operation, model, "call", wish.lane).format(prefix)
    if not 0.001 <= wish.attempt_timeout <= 7 * 86400:
        raise InvalidParameterError(f"attempt_timeout is {wish.attempt_timeout}; allowed: 0.001 to 604800 s")
    frame = prepare(row, tensors, params)
    when = schedule.schedule(wish.run_at, wish.every)
    deadline = schedule.moment("deadline", wish.deadline)
    if deadline is not None and wish.every is not None:
        raise InvalidParameterError("deadline and every are both given; allowed: one of them")
    if wish.every is not None and len(frame) > job.INLINE_BYTES:
        # Its payload would have to outlive every run.
        raise PayloadTooLargeError.of(len(frame), job.INLINE_BYTES)
    key = wish.idempotency_key
    request = JobRequest(
        job_id=job_id or (job.new_id() if key is None else job.id_of_key(operation, model, key)),
        operation=operation,
        model=model,
        lane=wish.lane,
        submitted=job.now_us(),
        deadline=None if deadline is None else int(deadline * 1e6),
        retries=job.check_retries(wish.retries),
        attempt_timeout=wish.attempt_timeout,
        idempotency_key=key,
        notify=notify,
    )
    return message_of(request, frame, prefix=prefix, when=when, traced=traced)


def message_of(
    request: JobRequest,
    frame: bytes,
    *,
    prefix: str,
    when: str | None = None,
    route: str = "job",
    traced: Mapping[str, str] | None = None,
) -> Message:
    """Return the message of a job that has been checked; `when` is the broker's word for a schedule.

    The route `flow` is that of a plan. With `traced` the job belongs to a span that is open already.
    """
    subject, stream = request.subject(prefix, route), streams.FLOWS if route == "flow" else streams.JOBS
    timed: dict[str, str] = {}
    if when is not None:
        timed = {
            schedule.HEADER: when,
            schedule.TARGET: request.subject(prefix, "due"),
            schedule.TTL[0]: schedule.TTL[1],
        }
        subject, stream = job.schedule_subject(request.job_id, prefix), streams.SCHEDULES
    span = start_call(request.operation, subject, request.lane, "submit") if traced is None else None
    headers = request.headers() | timed | {jetstream.EXPECTED_STREAM: stream} | dict(traced or {})
    if when is None:
        headers[header.MESSAGE_ID] = request.job_id
    if span is not None:
        headers |= span.headers
        span.end()
    trace_id = None if span is None else span.trace_id
    if len(frame) <= job.INLINE_BYTES:
        return Message(request, subject, headers, frame, trace_id, None, stream)
    headers[header.PAYLOAD] = str(payloads.reference(f"{request.job_id}.{payloads.INPUT}", frame))
    return Message(request, subject, headers, b"", trace_id, frame, stream)


async def store(control: Control, prefix: str, message: Message, seconds: float) -> None:
    """Have the broker store one job, trying again while it is not known; returns when the broker has it.

    Raises `OverloadedError` when the stream is full, `UnavailableError` when nothing could be sent, and
    `UnknownOutcomeError` when something was sent and no answer came in `seconds`.
    """
    await upload(control, prefix, message, seconds)

    async def once(client: Client) -> Any:
        return await jetstream.publish(
            client, message.stream, message.subject, message.frame, message.headers, min(ANSWER_S, seconds)
        )

    await insist(control, once, message.request.job_id, seconds)


async def upload(control: Control, prefix: str, message: Message, seconds: float) -> None:
    """Store a frame that is too large for its message, before that; raises as `store` does."""
    data = message.payload
    if data is None:
        return
    path = f"{message.request.job_id}.{payloads.INPUT}"

    async def once(client: Client) -> Any:
        return await payloads.put(client, prefix, path, data)

    try:
        await insist(control, once, message.request.job_id, seconds)
    except UnknownOutcomeError as error:
        # Without its message, a payload is no job.
        raise UnavailableError(f"the payload could not be stored: {error}") from error


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
