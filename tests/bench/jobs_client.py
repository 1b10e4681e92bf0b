"""The measured Python program for durable jobs: prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from npufleet import AsyncFleet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client

TENSORS = {"x": np.arange(8.0)}
IN_FLIGHT = 64
BATCH = 1000
WHOLE = 10_000


async def submit(fleet: AsyncFleet, seconds: float) -> dict[str, float]:
    """Jobs submitted and awaited one by one, with a number in flight."""
    count = 0

    async def one(until: float) -> None:
        nonlocal count
        while time.perf_counter() < until:
            await fleet.submit("echo", TENSORS)
            count += 1

    await fleet.submit("echo", TENSORS)
    started = time.perf_counter()
    await asyncio.gather(*(one(started + seconds) for _ in range(IN_FLIGHT)))
    return {"rate": count / (time.perf_counter() - started)}


async def many(fleet: AsyncFleet, seconds: float) -> dict[str, float]:
    """Jobs submitted in atomic batches."""
    await fleet.submit("echo", TENSORS)
    count, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        count += len(await fleet.submit_many("echo", [TENSORS] * BATCH))
    return {"rate": count / (time.perf_counter() - started)}


async def whole(fleet: AsyncFleet, _: float) -> dict[str, float]:
    """From the first submission to the last acknowledgement."""
    control = await fleet.control.client()
    started = time.perf_counter()
    await fleet.submit_many("echo", [TENSORS] * WHOLE)
    await _until_done(control)
    return {"rate": WHOLE / (time.perf_counter() - started)}


async def idle(fleet: AsyncFleet, seconds: float) -> dict[str, float]:
    """What one job alone takes longer than a call, from submission to result."""

    async def job() -> None:
        await (await fleet.submit("echo", TENSORS)).result()

    async def call() -> None:
        await fleet.call("echo", TENSORS)

    jobs, calls = await _p50_ms(job, seconds), await _p50_ms(call, seconds / 4)
    return {"added_ms": jobs - calls, "job_ms": jobs, "call_ms": calls}


async def left(control: Client) -> int:
    """How many jobs are not acknowledged."""
    info = json.loads((await control.request("$JS.API.CONSUMER.INFO.JOBS.job-normal")).data)
    return int(info["num_pending"] + info["num_ack_pending"])


async def _until_done(control: Client) -> None:
    while True:
        if await left(control) == 0:
            return
        await asyncio.sleep(0.01)


async def _p50_ms(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    times = []
    await work()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        await work()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


async def main(what: str, url: str, seconds: float) -> None:
    """Measure one thing."""
    measures = {"submit": submit, "many": many, "whole": whole, "idle": idle}
    async with AsyncFleet.connect(url) as fleet:
        json.dump(await measures[what](fleet, seconds), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
