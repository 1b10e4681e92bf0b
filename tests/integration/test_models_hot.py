"""Models come, change and go while callers never stop asking, on each engine: no call that should be served fails."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, InvalidParameterError, UnknownModelError
from tests.support.model_stand import INPUTS, OUTPUTS, linear
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from npufleet import ModelInfo
    from tests.support.worker_stand import Broker

ROWS = np.ones((2, INPUTS), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models on disk: 1.xml multiplies by 1, 2.xml by 2, 3.xml by 3; bad.xml does not load."""
    folder = tmp_path_factory.mktemp("models")
    for scale in (1, 2, 3):
        for suffix, content in linear(float(scale)).items():
            (folder / suffix.replace("model", str(scale))).write_bytes(content)
    (folder / "bad.xml").write_text((folder / "1.xml").read_text().replace('type="MatMul"', 'type="NoSuchLayer"'))
    (folder / "bad.bin").write_bytes((folder / "1.bin").read_bytes())
    return folder


@pytest.fixture
async def models(served: Broker) -> AsyncIterator[AsyncFleet]:
    """A fleet of one worker of each engine, with an empty registry before and after."""
    async with AsyncFleet.connect(served.url) as fleet:
        yield fleet
        for name in {info.name for info in await fleet.models.list()}:
            await fleet.models.remove(name)


async def scale(fleet: AsyncFleet, version: int | None = None) -> int:
    """By what the served model multiplies."""
    outputs = await fleet.infer("hot", {"x": ROWS}, version=version)
    assert outputs["y"].shape == (2, OUTPUTS)
    return int(outputs["y"][0, 0]) // INPUTS


def served(infos: list[ModelInfo]) -> list[int]:
    """The versions that some worker serves."""
    return [info.version for info in infos if info.ready]


@asynccontextmanager
async def callers(fleet: AsyncFleet, **options: Any) -> AsyncIterator[list[int]]:
    """Callers that ask as long as the block lasts, and what each answer multiplied by; any failure ends the test."""
    seen: list[int] = []
    stop = asyncio.Event()

    async def keep_asking() -> None:
        while not stop.is_set():
            seen.append(await scale(fleet, **options))

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(keep_asking())
        await until(lambda: seen, "a first answer")
        yield seen
        stop.set()


async def test_nobody_notices_that_versions_come_and_go(models: AsyncFleet, folder: Path) -> None:
    await models.models.add("hot", folder / "1.xml")
    async with callers(models) as seen:
        await models.models.add("hot", folder / "2.xml")
        await until(lambda: seen[-1] == 2, "the second version")
        with pytest.raises(InvalidParameterError):
            await models.models.add("hot", folder / "bad.xml")
        await models.models.add("hot", folder / "3.xml")
        await until(lambda: seen[-1] == 3, "the third version")
        await models.models.remove("hot", 3)
        await until(lambda: seen[-1] == 2, "the second version again")
        await models.models.add("other", folder / "1.xml")
        await models.models.remove("other")

    assert set(seen) == {1, 2, 3}


async def test_a_removal_ends_no_call_in_flight(models: AsyncFleet, folder: Path) -> None:
    await models.models.add("hot", folder / "1.xml")
    for _ in range(3):
        calls = [asyncio.create_task(scale(models)) for _ in range(64)]
        await until(lambda: models.statistics().calls >= 64, "sent")
        await models.models.remove("hot")
        assert await asyncio.gather(*calls) == [1] * 64
        with pytest.raises(UnknownModelError):
            await scale(models)
        await models.models.add("hot", folder / "1.xml")


async def test_the_policy_says_which_versions_are_served(models: AsyncFleet, folder: Path) -> None:
    for name in ("1.xml", "2.xml", "3.xml"):
        info = await models.models.add("hot", folder / name)
    assert info.policy == "latest"
    assert served(await models.models.list()) == [3]
    async with callers(models, version=3):
        infos = await models.models.serve("hot", "all")
        assert served(infos) == [1, 2, 3]
        assert {info.policy for info in infos} == {"all"}
        assert [await scale(models, version) for version in (1, 2, 3, None)] == [1, 2, 3, 3]
        infos = await models.models.serve("hot", [3, 1])
        assert served(infos) == [1, 3]
        assert infos[0].policy == (1, 3)
        with pytest.raises(UnknownModelError, match="served"):
            await scale(models, 2)
    infos = await models.models.serve("hot", [1])
    assert (served(infos), await scale(models)) == ([1], 1)
    # A version that the policy does not pick is registered, and nobody loads it.
    added = await models.models.add("hot", folder / "2.xml", version=4)
    assert (added.workers, await scale(models)) == ((), 1)
    assert served(await models.models.serve("hot", "latest")) == [4]
    assert await scale(models) == 2
    assert (await models.models.add("hot", folder / "1.xml", version=5)).ready, "the policy is the latest again"


async def test_of_versions_that_do_not_load_the_next_lower_one_is_the_latest(models: AsyncFleet, folder: Path) -> None:
    await models.models.add("hot", folder / "1.xml", version=1)
    with pytest.raises(InvalidParameterError):
        await models.models.add("hot", folder / "bad.xml", version=2, keep=True)
    await models.models.add("hot", folder / "3.xml", version=3)
    async with callers(models) as seen:
        await models.models.remove("hot", 3)
        await until(lambda: seen[-1] == 1, "the first version")
    assert served(await models.models.list()) == [1]


async def test_a_policy_that_is_none_is_refused(models: AsyncFleet, folder: Path) -> None:
    await models.models.add("hot", folder / "1.xml")
    for versions in ("some", "", [], [0], [1.5], [True], "1"):
        with pytest.raises(InvalidParameterError, match="versions is"):
            await models.models.serve("hot", versions)  # type: ignore[arg-type]
    with pytest.raises(UnknownModelError, match="no version 9"):
        await models.models.serve("hot", [1, 9])
    with pytest.raises(UnknownModelError, match="no model"):
        await models.models.serve("nothing", "all")


SETTINGS: list[dict[str, Any]] = [
    {"performance_hint": "latency"},
    {"performance_hint": "throughput"},
    {"instances": 1},
    {"instances": 3, "precision": "f32"},
    {"precision": "bf16", "devices": ["CPU"], "max_batch": 2, "max_queue_delay": 0.001},
    {"precision": "f16", "devices": ["NPU", "CPU"]},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
async def test_a_model_is_served_as_its_settings_say(
    models: AsyncFleet, folder: Path, settings: dict[str, Any]
) -> None:
    added = await models.models.add("hot", folder / "2.xml", **settings)
    known = await models.models.info("hot")
    for name, value in settings.items():
        field = {"max_queue_delay": "max_queue_delay_us"}.get(name, name)
        wanted = tuple(value) if isinstance(value, list) else value * 1e6 if name == "max_queue_delay" else value
        assert getattr(added, field) == getattr(known, field) == wanted
    assert await asyncio.gather(*(scale(models) for _ in range(32))) == [2] * 32
    if settings.get("devices") == ["NPU", "CPU"] and added.workers[0].device == "CPU":
        assert any(note.startswith("NPU: ") for note in added.workers[0].notes), "it says why not the NPU"
