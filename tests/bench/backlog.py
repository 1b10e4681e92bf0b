"""A long backlog of jobs: whether the last are done as fast as the first, and what the worker holds meanwhile.

NPUFLEET_BACKLOG says how many jobs; a million take two minutes a round.
"""

from __future__ import annotations

import asyncio
import os
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


def measure(effort: Effort) -> Iterator[Figure]:
    """Compare the ends of several backlogs, each on a broker of its own, with their starts."""
    starts, ends = zip(*(_work() for _ in range(effort.repeats)), strict=True)
    title = f"backlog of {JOBS} jobs, the end beside the start"
    yield figure(
        title, [_rate(end) for end in ends], "jobs/s", floor=[_rate(start) for start in starts], target=">= 0.9"
    )
    memory, at_first = ([max(sample.memory for sample in part) / 2**20 for part in parts] for parts in (ends, starts))
    yield figure("worker's memory at the end beside the start", memory, "MiB", floor=at_first, target="<= 1.1")


def _work() -> tuple[list[Sample], list[Sample]]:
    """Have a backlog done; returns what was seen during its first part and during its last."""
    with durable_broker() as broker:
        asyncio.run(_submit(broker.url))
        with WorkerProcess(broker.url, engine="rust") as worker:
            worker.wait("jobs", state="taking")
            samples = asyncio.run(_watch(broker.url, worker.process.pid))
    done = [sample for sample in samples if sample.left < JOBS]
    start = [sample for sample in done if sample.left >= JOBS * (1 - SHARE)]
    return start, [sample for sample in done if sample.left <= JOBS * SHARE]


async def _submit(url: str) -> None:
    async with AsyncFleet.connect(url) as fleet:
        for start in range(0, JOBS, AT_ONCE):
            await fleet.submit_many("echo", [TENSORS] * min(AT_ONCE, JOBS - start))


async def _watch(url: str, pid: int) -> list[Sample]:
    samples: list[Sample] = []
    async with client(url) as plain:
        while not samples or samples[-1].left:
            await asyncio.sleep(EVERY_S)
            samples.append(Sample(time.monotonic(), await left(plain), _memory(pid)))
    return samples


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _rate(part: list[Sample]) -> float:
    return (part[0].left - part[-1].left) / (part[-1].at - part[0].at)
