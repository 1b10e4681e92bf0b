"""Many jobs in one atomic batch (ADR-50): the broker stores all of them, with one write to the disk, or none."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.broker import streams
from npufleet.errors import FleetError, UnavailableError, UnknownOutcomeError
from npufleet.jobs.job import Job
from npufleet.jobs.submit import after, insist, store, upload
from npufleet.transport import jetstream
from npufleet.transport.together import together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nats.aio.client import Client

    from npufleet.control import Control
    from npufleet.jobs.submit import Message
    from npufleet.jobs.way import Way
    from npufleet.transport import Flight, JobBatch

MESSAGES: Final = 1000
BYTES: Final = 32 << 20
"""What one batch holds at most; the first is the server's limit."""

PART: Final = 100
"""Messages that are sent together."""

ANSWER_S: Final = 10.0
AT_ONCE: Final = 64


async def store_many(control: Control, prefix: str, messages: Sequence[Message], seconds: float) -> None:
    """Have the broker store many jobs; raises as `store` does, at the first batch that is not stored."""
    for batch in _batches(messages):
        for message in batch:
            await upload(control, prefix, message, seconds)
        await _store_batch(control, prefix, batch, seconds)


async def store_packed(way: Way, batches: Sequence[JobBatch], seconds: float) -> list[Job]:
    """Have the broker store jobs that a transport sends, and return their handles; raises as `store_many` does."""
    handles: list[Job] = []
    origin = way.origin
    for batch in batches:
        flight = batch.send(min(ANSWER_S, seconds))
        # Made while the broker is at work.
        handles += [Job(origin, job_id) for job_id in batch.ids]
        with contextlib.suppress(FleetError):  # what that means is said by whoever tries again
            await flight
        if not flight.plain:
            messages = [way.message(job_id, frame, headers) for job_id, frame, headers in batch.jobs()]
            await _store_batch(origin.control, origin.prefix, messages, seconds, flight)
    return handles


async def _store_batch(
    control: Control, prefix: str, batch: Sequence[Message], seconds: float, begun: Flight | None = None
) -> None:
    attempt = after(begun, streams.JOBS, lambda client: _publish(client, batch, min(ANSWER_S, seconds)))

    async def once(client: Client) -> Any:
        answer = await attempt(client)
        if answer.get("count") != len(batch):
            raise UnknownOutcomeError(f"the broker stored {answer.get('count')} of {len(batch)} jobs")
        return answer

    try:
        await insist(control, once, None, seconds)
    except jetstream.AlreadyThereError:
        # Some of them are stored already: by an earlier submission, or by a batch whose answer was lost. One by one,
        # the broker drops exactly those.
        async def single(message: Message) -> None:
            await store(control, prefix, message, seconds)

        await together(single, batch, AT_ONCE)


async def _publish(client: Client, batch: Sequence[Message], seconds: float) -> dict[str, Any]:
    if not client.is_connected:
        raise UnavailableError("the connection to the broker is lost")
    identity = uuid.uuid4().hex
    *others, final = batch
    try:
        for number, message in enumerate(others, 1):
            headers = {**message.headers, "Nats-Batch-Id": identity, "Nats-Batch-Sequence": str(number)}
            await client.publish(message.subject, message.frame, headers=headers)
            if number % PART == 0:
                # What is there leaves now, so that the broker need not wait for the rest.
                await asyncio.sleep(0)
    except (nats.errors.Error, OSError) as error:
        # Nothing of a batch without its end is stored.
        raise UnavailableError(f"the jobs could not be sent: {error or type(error).__name__}") from error
    last = {"Nats-Batch-Id": identity, "Nats-Batch-Sequence": str(len(batch)), "Nats-Batch-Commit": "1"}
    return await jetstream.publish(client, streams.JOBS, final.subject, final.frame, {**final.headers, **last}, seconds)


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) >= MESSAGES or size + len(message.frame) > BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.frame)
    if batch:
        yield batch
