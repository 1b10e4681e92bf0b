"""A broker with the streams of durable jobs, and looks into them that do not go through the SDK."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import nats.errors

from npufleet import AsyncFleet
from npufleet.broker import streams
from tests.support.waiting import PATIENCE_S, until
from tests.support.worker_stand import Broker, WorkerProcess, client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from npufleet.transport.connection import Client

ACK_WAIT = 1.0


async def create_streams(url: str, ack_wait: float = ACK_WAIT) -> None:
    async with client(url) as plain:
        await streams.create(plain, ack_wait=ack_wait)


@contextlib.contextmanager
def jobs_broker(*settings: str, ack_wait: float = ACK_WAIT) -> Iterator[Broker]:
    """A broker of one's own that takes jobs; a dead worker's jobs come back after `ack_wait` seconds."""
    with Broker(*settings) as broker:
        asyncio.run(create_streams(broker.url, ack_wait))
        yield broker


@contextlib.contextmanager
def taking(url: str, *options: str, engine: str = "python", **environment: str) -> Iterator[WorkerProcess]:
    """A worker that takes jobs."""
    with WorkerProcess(url, *options, engine=engine, **environment) as process:
        process.ready()
        process.wait("jobs", state="taking")
        yield process


@contextlib.asynccontextmanager
async def connected(broker: Broker, transport: str | None = None) -> AsyncIterator[AsyncFleet]:
    async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
        yield fleet


async def state(plain: Client, stream: str) -> dict[str, Any]:
    """What a stream holds, by the server's own word."""
    answer = json.loads((await plain.request(f"$JS.API.STREAM.INFO.{stream}", b'{"subjects_filter":">"}')).data)
    return dict(answer["state"])


async def messages(plain: Client, stream: str) -> int:
    return int((await state(plain, stream))["messages"])


async def update(plain: Client, stream: str, **changed: Any) -> None:
    """Change a stream's limits."""
    body = json.dumps({**streams.streams()[stream], **changed}).encode()
    answer = json.loads((await plain.request(f"$JS.API.STREAM.UPDATE.{stream}", body)).data)
    assert "error" not in answer, answer


async def dead_letter(plain: Client, operation: str, job_id: str) -> Any:
    """Wait for a dead letter, which is written just after the result; a message with headers."""

    async def found() -> Any:
        answer = await plain.request(f"$JS.API.DIRECT.GET.DEAD.npu.v1.dead.{operation}.{job_id}")
        return None if (answer.headers or {}).get("Status") else answer

    return await until(found, f"the dead letter of job {job_id}")


async def no_jobs(plain: Client, seconds: float = PATIENCE_S) -> None:
    """Wait until every job has been taken off the stream."""

    async def empty() -> bool:
        try:
            return await messages(plain, "JOBS") == 0
        except (OSError, nats.errors.Error):
            return False  # the broker was started again, and this connection has not noticed yet

    await until(empty, "an empty stream of jobs", seconds)
