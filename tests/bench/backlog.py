"""A long backlog of jobs: whether the last are done as fast as the first, and what the worker holds meanwhile.

A machine that others use too is not as fast at one time as at another, whatever the backlog. So the end is compared
with the start before it and with that of another backlog of the same length right after it. NPUFLEET_BACKLOG says how
many jobs; a million take three minutes.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from npufleet import AsyncFleet
from tests.bench.figure import figure
from tests.bench.jobs import durable_broker
from tests.bench.jobs_client import TENSORS, left
from tests.support.worker_stand import WorkerProcess, client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.figure import Figure
    from tests.bench.stand import Effort

JOBS = int(os.environ.get("NPUFLEET_BACKLOG", "150000"))
AT_ONCE = 10_000
EVERY_S = 0.2
SHARE = 0.2


class Sample(NamedTuple):
    """At a time, in seconds: jobs that are not acknowledged, and the worker's memory in bytes."""

    at: float
    left: int
    memory: int


def measure(_: Effort) -> Iterator[Figure]:
    """Compare the end of a backlog with its start, and with the next one's."""
    done = _work(until=0)
    first = [sample for sample in done if sample.left >= JOBS * (1 - SHARE)]
    last = [sample for sample in done if sample.left <= JOBS * SHARE]
    again = _work(until=int(JOBS * (1 - SHARE)))
    start = statistics.mean((_rate(first), _rate(again)))
    yield figure(
        f"backlog of {JOBS} jobs, the end beside the start", [_rate(last)], "jobs/s", floor=[start], target=">= 0.9"
    )
    memory, at_first = (max(sample.memory for sample in part) / 2**20 for part in (last, first))
    yield figure("worker's memory at the end beside the start", [memory], "MiB", floor=[at_first], target="<= 1.1")


def _work(until: int) -> list[Sample]:
    """Have a backlog done until so many jobs are left; returns what was seen from the first one on."""
    with durable_broker() as broker:
        asyncio.run(_submit(broker.url))
        with WorkerProcess(broker.url, engine="rust") as worker:
            worker.wait("jobs", state="taking")
            samples = asyncio.run(_watch(broker.url, worker.process.pid, until))
    return [sample for sample in samples if sample.left < JOBS]


async def _submit(url: str) -> None:
    async with AsyncFleet.connect(url) as fleet:
        for start in range(0, JOBS, AT_ONCE):
            await fleet.submit_many("echo", [TENSORS] * min(AT_ONCE, JOBS - start))


async def _watch(url: str, pid: int, until: int) -> list[Sample]:
    samples: list[Sample] = []
    async with client(url) as plain:
        while not samples or samples[-1].left > until:
            await asyncio.sleep(EVERY_S)
            samples.append(Sample(time.monotonic(), await left(plain), _memory(pid)))
    return samples


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _rate(part: list[Sample]) -> float:
    return (part[0].left - part[-1].left) / (part[-1].at - part[0].at)
