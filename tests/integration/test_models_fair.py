"""Models that share a worker: one that is flooded with requests does not hold up another."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet
from tests.support.model_stand import perceptron
from tests.support.worker_stand import Broker, primary_worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOOD = 64
"""Requests of the flooded model that wait all the time."""


@pytest.fixture
def broker(worker_engine: str, tmp_path: Path) -> Iterator[Broker]:
    """A broker with one worker, of each engine."""
    with Broker() as broker, primary_worker(broker.url, worker_engine, "--cache-dir", str(tmp_path / "cache")):
        yield broker


async def test_a_flooded_model_does_not_hold_up_another(broker: Broker, tmp_path: Path) -> None:
    async with AsyncFleet.connect(broker.url) as fleet:
        await fleet.models.add("flooded", perceptron(tmp_path / "flooded.xml", 1024, 6), version=1, max_batch=1)
        await fleet.models.add("other", perceptron(tmp_path / "other.xml", 16, 1), version=1, max_batch=1)
        flood, trickle = np.ones((1, 1024), np.float32), np.ones((1, 16), np.float32)
        waits: dict[str, list[float]] = {"flooded": [], "other": []}
        flows, over = asyncio.Event(), asyncio.Event()

        async def ask(model: str, x: np.ndarray) -> None:
            begin = time.perf_counter()
            await fleet.infer(model, {"x": x})
            waits[model].append(time.perf_counter() - begin)

        async def keep_asking() -> None:
            while not over.is_set():
                await ask("flooded", flood)
                if len(waits["flooded"]) >= FLOOD:
                    flows.set()

        async with asyncio.TaskGroup() as group:
            for _ in range(FLOOD):
                group.create_task(keep_asking())
            await flows.wait()
            for _ in itertools.repeat(None, 40):
                await ask("other", trickle)
            over.set()
    flooded, other = (statistics.median(waits[name]) for name in ("flooded", "other"))
    # In order of arrival it would wait as long as the flood does: for what 64 others asked before.
    assert other < flooded / 3, f"{other * 1e3:.1f} ms against {flooded * 1e3:.1f} ms"
