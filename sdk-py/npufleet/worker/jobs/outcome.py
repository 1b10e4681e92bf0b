"""What is written when something happens to a job: its result once, its dead letter once, its events as they come."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar

import nats.errors

from npufleet.broker import streams
from npufleet.errors import FleetError
from npufleet.transport import jetstream, payloads
from npufleet.wire import header, job
from npufleet.worker.reply import ENGINE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nats.aio.client import Client

    from npufleet.wire.job import JobRequest

ANSWER_S: Final = 5.0
LONGEST_WAIT_S: Final = 2.0
HISTORY_LIMIT: Final = 64
_ONCE: Final = {jetstream.EXPECTED_LAST: "0"}
_NOT_REPEATED: Final = ("Nats-", header.HISTORY)

Value = TypeVar("Value")

_log = logging.getLogger(__name__)


class Outcomes:
    """Writes for one worker; nothing here gives up while the broker is away, only the worker's end ends it."""

    def __init__(self, client: Client, prefix: str, worker_id: str) -> None:
        self._client = client
        self._prefix = prefix
        self._worker = worker_id

    async def result(self, job_id: str) -> jetstream.Stored | None:
        """Return the result that a job has already."""
        return await jetstream.last(self._client, streams.RESULTS, job.result_subject(job_id, self._prefix), ANSWER_S)

    async def known(self, job_id: str) -> tuple[jetstream.Stored | None, bool]:
        """Return the result that a job has already, and whether somebody has asked for it to be cancelled."""
        return await asyncio.gather(self.result(job_id), self.cancel_asked(job_id))

    async def cancel_asked(self, job_id: str) -> bool:
        """Whether somebody has asked for a job to be cancelled."""
        subject = job.cancel_subject(job_id, self._prefix)
        return await jetstream.last(self._client, streams.RESULTS, subject, ANSWER_S) is not None

    async def commit(self, request: JobRequest, attempt: int, headers: Mapping[str, str], frame: bytes = b"") -> bool:
        """Write a job's result unless it has one; false when it had one. The submitter is told in either case."""
        known = {
            header.JOB_ID: request.job_id,
            **_described(request),
            header.FINISHED: str(job.now_us()),
            header.ATTEMPT: str(attempt),
            header.WORKER: self._worker,
        }
        if request.fallback_reason:
            known[header.FALLBACK_REASON] = header.one_line(request.fallback_reason)
        subject = job.result_subject(request.job_id, self._prefix)
        committed = await self._write(streams.RESULTS, subject, frame, {**headers, **known, **_ONCE})
        if request.notify:
            await self._tell(request.notify, request.job_id.encode())
        return committed

    async def end_schedule(self, job_id: str) -> None:
        """Have the broker forget a job for later, or that it is repeated; there may be none."""
        question = f"STREAM.PURGE.{streams.SCHEDULES}"
        try:
            body = {"filter": job.schedule_subject(job_id, self._prefix)}
            await jetstream.ask(self._client, question, body, ANSWER_S)
        except FleetError as error:
            _log.warning("the schedule of job %s goes on: %s", job_id, error)

    async def fetch(self, payload: str) -> bytes:
        """Return a frame that was too large for its message."""
        return await payloads.get(self._client, self._prefix, payload)

    async def commit_frame(self, request: JobRequest, attempt: int, headers: Mapping[str, str], frame: bytes) -> bool:
        """Write a job's result, a large frame ahead of its message; false when it had a result."""
        if len(frame) <= job.INLINE_BYTES:
            return await self.commit(request, attempt, headers, frame)
        # A path that nobody else has: two may work on the same attempt, and only one of them must remove what it wrote.
        path = f"{request.job_id}.out.{secrets.token_hex(8)}"

        async def put() -> payloads.Reference:
            return await payloads.put(self._client, self._prefix, path, frame, ttl=payloads.RESULT_TTL)

        async def committed() -> jetstream.Stored | None:
            return await self.result(request.job_id)

        stored = str(await insist(path, put))
        if await self.commit(request, attempt, {**headers, header.PAYLOAD: stored}):
            return True
        there = await insist(path, committed)
        if there is not None and there.headers.get(header.PAYLOAD) == stored:
            return True  # ours: the answer to its first sending was lost
        await self.remove(stored)
        return False

    async def remove(self, payload: str | None) -> None:
        """Remove a frame that is needed no more; what cannot be removed now goes with its age."""
        if payload is None:
            return
        try:
            await payloads.remove(self._client, self._prefix, payload)
        except FleetError as error:
            _log.warning("%s", error)

    async def bury(
        self, request: JobRequest, payload: bytes, original: Mapping[str, str], failure: Mapping[str, str]
    ) -> None:
        """Write a job's dead letter unless it is there: the job as it was, why it failed, and all its events."""
        kept = {name: value for name, value in original.items() if not name.startswith(_NOT_REPEATED)}
        history = json.dumps(await self._history(request.job_id), separators=(",", ":"))
        more = {header.JOB_ID: request.job_id, header.OPERATION: request.name, header.HISTORY: history}
        subject = job.dead_subject(request.operation, request.job_id, self._prefix)
        await self._write(streams.DEAD, subject, payload, {**kept, **failure, **more, **_ONCE})

    async def event(self, job_id: str, state: str, attempt: int, *, sure: bool = False, **more: Any) -> None:
        """Say what happens to a job. Loss is accepted unless `sure`."""
        said = {"state": state, "attempt": attempt, "worker": self._worker, "engine": ENGINE, "at": job.now_us()}
        subject, body = job.event_subject(job_id, self._prefix), json.dumps({**said, **more}).encode()
        if sure:
            await self._write(streams.EVENTS, subject, body, {})
        else:
            await self._tell(subject, body)

    async def _tell(self, subject: str, body: bytes) -> None:
        try:
            await self._client.publish(subject, body)
        except (nats.errors.Error, OSError) as error:
            _log.debug("nobody could be told on %s: %s", subject, error or repr(error))

    async def _write(self, stream: str, subject: str, payload: bytes, headers: Mapping[str, str]) -> bool:
        async def publish() -> object:
            return await jetstream.publish(self._client, stream, subject, payload, headers, ANSWER_S)

        try:
            await insist(subject, publish)
        except jetstream.AlreadyThereError:
            return False
        return True

    async def _history(self, job_id: str) -> list[Any]:
        """Return the events of a job so far, the oldest first."""
        subject = job.event_subject(job_id, self._prefix)
        events: list[Any] = []
        sequence = 1
        try:
            while len(events) < HISTORY_LIMIT:
                body = json.dumps({"seq": sequence, "next_by_subj": subject}).encode()
                answer = await self._client.request(f"$JS.API.DIRECT.GET.{streams.EVENTS}", body, timeout=ANSWER_S)
                found = jetstream.stored(answer)
                if found is None:
                    break
                events.append(json.loads(found.data))
                sequence = found.sequence + 1
        except (nats.errors.Error, OSError, ValueError) as error:
            _log.warning("the history of job %s is not whole: %s", job_id, error or repr(error))
        return events


async def insist(what: str, write: Callable[[], Awaitable[Value]]) -> Value:
    """Write something until it is written."""
    pause = 0.1
    while True:
        try:
            return await write()
        except FleetError as error:
            _log.warning("%s is not written yet: %s", what, error)
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))  # noqa: S311 - spreads retries, hides nothing
            pause = min(pause * 2, LONGEST_WAIT_S)


def _described(request: JobRequest) -> dict[str, str]:
    """What a job was; a cancellation may know nothing of it."""
    given = {header.OPERATION: request.name} if request.operation else {}
    return given | ({header.SUBMITTED: str(request.submitted)} if request.submitted else {})
