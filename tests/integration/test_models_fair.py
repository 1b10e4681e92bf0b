"""Models that share a worker: one that is flooded with requests does not hold up another."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet
from tests.conftest import rust_worker_missing
from tests.support.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOOD = 64
"""Requests of the flooded model that wait all the time."""


def perceptron(folder: Path, name: str, width: int, layers: int) -> Path:
    """A model of so many equal layers, whose weights decide what an inference costs."""
    import openvino
    from openvino import opset13 as op

    x = op.parameter(openvino.PartialShape([-1, width]), np.float32, name="x")
    node = x
    for _ in range(layers):
        node = op.relu(op.matmul(node, op.constant(np.eye(width, dtype=np.float32)), False, False))
    node.output(0).set_names({"y"})
    path = folder / f"{name}.xml"
    openvino.save_model(openvino.Model([node], [x], name), path, compress_to_fp16=False)
    return path


@pytest.fixture(params=["rust", "python"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker with one worker, of each engine."""
    if request.param == "rust" and (why := rust_worker_missing()):
        pytest.skip(why)
    options = ("--primary",) if request.param == "python" else ()
    with (
        tempfile.TemporaryDirectory(prefix="npufleet-test-") as cache,
        Broker() as broker,
        WorkerProcess(broker.url, "--cache-dir", cache, *options, engine=request.param) as worker,
    ):
        worker.ready()
        yield broker


async def test_a_flooded_model_does_not_hold_up_another(broker: Broker, tmp_path: Path) -> None:
    async with AsyncFleet.connect(broker.url) as fleet:
        await fleet.models.add("flooded", perceptron(tmp_path, "flooded", 1024, 6), version=1, max_batch=1)
        await fleet.models.add("other", perceptron(tmp_path, "other", 16, 1), version=1, max_batch=1)
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
