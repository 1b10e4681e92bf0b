"""The benchmark of a served model says what was measured through the fleet, and refuses what it cannot ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet, Fleet, InvalidParameterError, UnknownModelError
from tests.support.model_stand import INPUTS, linear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.worker_stand import Broker


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for suffix, content in linear(1.0).items():
        (folder / suffix).write_bytes(content)
    return folder / "model.xml"


@pytest.fixture
async def measured(served: Broker, model: Path) -> AsyncIterator[AsyncFleet]:
    async with AsyncFleet.connect(served.url) as fleet:
        await fleet.models.add("measured", model, max_batch=8)
        yield fleet
        await fleet.models.remove("measured")


async def test_the_figures_are_those_of_the_calls_that_were_made(measured: AsyncFleet, engine: str) -> None:
    before = measured.statistics()
    found = await measured.models.benchmark("measured", batch_size=4, requests=3, seconds=0.3)
    after = measured.statistics()
    assert (found.model, found.version, found.batch_size, found.requests) == ("measured", 1, 4, 3)
    assert found.shapes == {"x": (4, INPUTS)}
    assert found.count == after.calls - before.calls - 1, "and the first one, which is not counted"
    assert found.engines == {engine: found.count}
    assert found.devices == {"CPU": found.count}
    assert found.fallbacks == 0
    assert found.duration >= 300
    assert found.throughput == pytest.approx(found.count * 4 / found.duration * 1e3)
    latency = found.latency
    assert 0 < latency.min <= latency.median <= latency.percentiles[90] <= latency.percentiles[95]
    assert latency.percentiles[95] <= latency.percentiles[99] <= latency.max <= found.duration + latency.max
    assert latency.min <= latency.average <= latency.max
    # Three calls at a time took all of the time, and no more.
    assert found.count * latency.average <= 3 * found.duration * 1.01
    assert found.first_inference > 0


async def test_it_measures_with_the_given_input(measured: AsyncFleet) -> None:
    x = np.ones((2, INPUTS), np.float32)
    found = await measured.models.benchmark("measured", inputs={"x": x}, requests=1, seconds=0.05)
    assert (found.batch_size, found.shapes) == (2, {"x": (2, INPUTS)})
    found = await measured.models.benchmark("measured", shapes={"x": [3, INPUTS]}, requests=1, seconds=0.05)
    assert found.batch_size == 3


async def test_what_cannot_be_measured_is_refused(measured: AsyncFleet) -> None:
    for options, words in (
        ({"batch_size": 9}, "batch_size is 9; allowed: 1 to 8"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"requests": 0}, "requests is 0"),
        ({"seconds": 0}, "seconds is 0"),
        ({"shapes": {"y": [1]}}, "shapes has 'y'; the model's inputs: x"),
        ({"shapes": {"x": [1, 2]}}, "allowed: "),
        ({"shapes": {"x": [0, INPUTS]}}, "allowed: "),
    ):
        with pytest.raises(InvalidParameterError) as refused:
            await measured.models.benchmark("measured", **options)  # type: ignore[arg-type]
        assert words in str(refused.value)
    with pytest.raises(UnknownModelError):
        await measured.models.benchmark("nothing")
    with pytest.raises(UnknownModelError):
        await measured.models.benchmark("measured", version=7)


async def test_the_blocking_fleet_measures_too(served: Broker, measured: AsyncFleet) -> None:
    import asyncio

    def measure() -> int:
        with Fleet.connect(served.url) as fleet:
            return fleet.models.benchmark("measured", seconds=0.05).count

    assert await asyncio.to_thread(measure) > 0
