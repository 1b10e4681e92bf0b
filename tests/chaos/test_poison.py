"""Poison jobs: they end as dead letters, take down no more than the worker that runs them, and stop nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import FleetError
from tests.chaos.harness import Workers
from tests.support.jobs_stand import connected, dead_letter, jobs_broker, no_jobs
from tests.support.worker_stand import PATIENCE, Broker, WorkerProcess, client

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTHY = 40
MEMORY = 3 << 30
POISONED = f"""
import ctypes, resource, sys, time
import numpy as np
from npufleet.operations import echo

resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
healthy = echo.execute


def execute(tensors, params, stop):
    if "crash" in tensors:
        ctypes.string_at(0)
    if "hang" in tensors:
        while True:
            time.sleep(60)
    if "memory" in tensors:
        kept = []
        while True:
            kept.append(np.empty(256 << 20, np.uint8))
    return healthy(tensors, params, stop)


echo.execute = execute
import npufleet.operations as operations
operations.REGISTRY["echo"] = operations.Operation(echo.rows, execute)
from npufleet.worker.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""A worker with a memory limit, whose echo does what a tensor's name asks for: a segmentation fault, and so on."""


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["crash", "hang", "memory"])
async def test_a_poison_job_harms_nobody_else(broker: Broker, kind: str) -> None:
    start = functools.partial(WorkerProcess, program=("-c", POISONED))
    with Workers(broker.url, 2, random.Random(1), ("python",), start) as workers:
        for process in workers.processes:
            await asyncio.to_thread(process.wait, "jobs", PATIENCE, state="taking")

        async def supervise() -> None:
            while True:
                await asyncio.to_thread(workers.replace_dead, fail=False)
                await asyncio.sleep(0.05)

        supervising = asyncio.create_task(supervise())
        try:
            async with connected(broker) as fleet, client(broker.url) as plain:
                x = np.zeros(1)
                poison = await fleet.submit("echo", {kind: x}, retries=1, attempt_timeout=0.5)
                healthy = await fleet.submit_many("echo", [{"x": x}] * HEALTHY, {"delay": 0.01}, retries=20)
                assert len(await fleet.gather(healthy)) == HEALTHY
                with pytest.raises(FleetError) as caught:
                    await poison.result()
                assert caught.value.kind == "internal"
                letter = await dead_letter(plain, "echo", poison.id)
                states = [event["state"] for event in json.loads(letter.headers["Npu-History"])]
                # A worker that crashes at once may take what it was about to say with it.
                assert states.count("running") in ((0, 1, 2) if kind == "crash" else (2,))
                assert "failed" in states
                await no_jobs(plain)
                # Of a crash, one worker for each attempt; the others leave their worker alive.
                assert workers.deaths == (2 if kind == "crash" else 0)
        finally:
            supervising.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervising
