"""Durable jobs on a broker that writes to the disk before it acknowledges, beside what bare async-nats does there."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from npufleet.broker import streams
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import RELEASE, TRACING_OFF, Effort, run_json
from tests.support.jobs_stand import create_streams
from tests.support.worker_stand import Broker, WorkerProcess, client

RAW = "RAW"
PAYLOAD = 104
"""Bytes of the measured job's frame: an echo of 8 float64."""


def measure(effort: Effort) -> Iterator[Figure]:
    """Submit one by one, submit many, end to end, latency when idle."""
    with durable_broker() as broker:
        asyncio.run(_raw_stream(broker.url))
        yield from _submitting(broker.url, effort)
    with durable_broker() as broker, WorkerProcess(broker.url, engine="rust") as worker:
        worker.wait("jobs", state="taking")
        yield from _doing(broker.url, effort)


@contextlib.contextmanager
def durable_broker() -> Iterator[Broker]:
    """A broker with the streams of jobs that syncs before it acknowledges, run as broker/README.md says."""
    with Broker(jetstream="sync_interval: always", GOGC="400", GOMEMLIMIT="4GiB") as broker:
        asyncio.run(create_streams(broker.url, ack_wait=30.0))
        yield broker


async def _raw_stream(url: str) -> None:
    """A stream like that of the jobs, for messages that nobody takes."""
    async with client(url) as plain:
        configuration = {**streams.streams()[streams.JOBS], "name": RAW, "subjects": ["raw.>"]}
        configuration.pop("sources", None)
        answer = json.loads(
            (await plain.request(f"$JS.API.STREAM.CREATE.{RAW}", json.dumps(configuration).encode())).data
        )
        assert "error" not in answer, answer


def _submitting(url: str, effort: Effort) -> Iterator[Figure]:
    samples = interleave(
        {
            "ours": lambda: _client(url, "submit", effort.seconds),
            "raw": lambda: _raw(url, effort.seconds),
            "many": lambda: _client(url, "many", effort.seconds),
            "batches": lambda: _raw(url, effort.seconds, batch=1000),
        },
        effort.repeats,
    )
    rates = {name: [each["rate"] for each in rows] for name, rows in samples.items()}
    yield figure("submit, 64 at once, fsync", rates["ours"], "jobs/s", floor=rates["raw"], target=">= 0.8")
    yield figure("submit_many, fsync", rates["many"], "jobs/s", floor=rates["batches"], target=">= 0.6")
    yield figure("submit_many, fsync, alone", rates["many"], "jobs/s", target=">= 20000")


def _doing(url: str, effort: Effort) -> Iterator[Figure]:
    whole = [_client(url, "whole", effort.seconds) for _ in range(effort.repeats)]
    yield figure(
        "jobs end to end, fsync, one Rust worker", [each["rate"] for each in whole], "jobs/s", target=">= 5000"
    )
    idle = [_client(url, "idle", effort.seconds) for _ in range(effort.repeats)]
    yield figure("latency that a job adds when idle, p50", [each["added_ms"] for each in idle], "ms", target="<= 10")


def _raw(url: str, seconds: float, batch: int = 0) -> dict[str, float]:
    options = {"url": url, "stream": RAW, "subject": "raw.normal.echo", "seconds": seconds, "batch": batch}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    result: dict[str, float] = run_json(RELEASE / "examples" / "store", *words, "--payload", str(PAYLOAD))
    return result


def _client(url: str, what: str, seconds: float) -> dict[str, Any]:
    result: dict[str, Any] = run_json(
        sys.executable, "-m", "tests.bench.jobs_client", what, url, str(seconds), environment=TRACING_OFF
    )
    return result
