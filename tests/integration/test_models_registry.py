"""The model registry through the SDK: added, served, listed, replaced, refused, removed."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, Fleet, InvalidParameterError, UnavailableError, UnknownModelError
from tests.support.model_stand import INPUTS, OUTPUTS, linear
from tests.support.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROWS = np.arange(3 * INPUTS, dtype=np.float32).reshape(3, INPUTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models on disk: twice.xml, thrice.xml, broken.xml, and files that are no models."""
    folder = tmp_path_factory.mktemp("models")
    for name, scale in (("twice", 2.0), ("thrice", 3.0), ("broken", 1.0)):
        for suffix, content in linear(scale).items():
            (folder / suffix.replace("model", name)).write_bytes(content)
    layer = (folder / "broken.xml").read_text().replace('type="MatMul"', 'type="NoSuchLayer"')
    (folder / "broken.xml").write_text(layer)
    (folder / "alone.xml").write_bytes((folder / "twice.xml").read_bytes())
    (folder / "text.onnx").write_text("not a model at all")
    (folder / "empty.onnx").write_bytes(b"")
    # A graph without operators: ONNX by its form, refused by whoever compiles it.
    (folder / "hollow.onnx").write_bytes(b"\x08\x08\x3a\x00")
    return folder


@pytest.fixture
async def models(fleet: AsyncFleet) -> AsyncIterator[AsyncFleet]:
    """The shared fleet, with an empty registry before and after."""
    yield fleet
    for name in {info.name for info in await fleet.models.list()}:
        await fleet.models.remove(name)


def scaled(scale: float) -> np.ndarray[Any, Any]:
    return np.repeat(ROWS.sum(axis=1, keepdims=True) * scale, OUTPUTS, axis=1)


async def test_a_model_is_served_from_add_to_remove(models: AsyncFleet, folder: Path, engine: str) -> None:
    added = await models.models.add("twice", folder / "twice.xml", max_batch=8, devices=["CPU"])
    assert (added.version, added.format, added.max_batch, added.devices) == (1, "ir", 8, ("CPU",))
    assert added.ready
    assert [(worker.state, worker.engine, worker.error) for worker in added.workers] == [("ready", engine, None)]
    assert [port.name for port in added.workers[0].inputs] == ["x"]
    for file in added.files:
        content = (folder / file.name.replace("model", "twice")).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())

    outputs = await models.infer("twice", {"x": ROWS})
    assert list(outputs) == ["y"]
    np.testing.assert_allclose(outputs["y"], scaled(2.0))

    assert await models.models.list() == [added]
    assert await models.models.info("twice") == added

    await models.models.remove("twice")
    assert await models.models.list() == []
    with pytest.raises(UnknownModelError):
        await models.infer("twice", {"x": ROWS})
    with pytest.raises(UnknownModelError):
        await models.models.info("twice")


async def test_the_highest_version_is_served(models: AsyncFleet, folder: Path) -> None:
    await models.models.add("scale", folder / "twice.xml")
    assert (await models.models.add("scale", folder / "thrice.xml")).version == 2
    np.testing.assert_allclose((await models.infer("scale", {"x": ROWS}, version=2))["y"], scaled(3.0))
    with pytest.raises(UnknownModelError, match="version"):
        await models.infer("scale", {"x": ROWS}, version=1)
    with pytest.raises(InvalidParameterError, match="version is 2"):
        await models.models.add("scale", folder / "twice.xml", version=2)
    assert [info.version for info in await models.models.list()] == [1, 2]

    with pytest.raises(UnknownModelError, match="registered: 1, 2"):
        await models.models.remove("scale", 3)
    await models.models.remove("scale", 2)
    assert [info.version for info in await models.models.list()] == [1]
    assert (await models.models.info("scale")).version == 1


async def test_a_real_onnx_model_is_served(models: AsyncFleet) -> None:
    magika = pytest.importorskip("magika")
    path = next(Path(magika.__file__).parent.glob("models/*/model.onnx"))
    steps: list[tuple[int, int]] = []
    added = await models.models.add("file-types", path, progress=lambda sent, total: steps.append((sent, total)))
    assert added.format == "onnx"
    assert steps == sorted(steps)
    assert steps[-1] == (path.stat().st_size, path.stat().st_size)
    bytes_in = np.full((40, 2048), 256, np.int32)
    scores = await models.map("infer", {"bytes": bytes_in}, model="file-types", rows_per_request=16)
    assert isinstance(scores, dict)
    (score,) = scores.values()
    assert score.shape[0] == 40
    np.testing.assert_allclose(score, np.broadcast_to(score[0], score.shape), atol=1e-5)


async def test_map_sends_at_most_what_the_model_takes(models: AsyncFleet, folder: Path) -> None:
    await models.models.add("small", folder / "twice.xml", max_batch=2)
    calls = models.statistics().calls
    result = await models.map("infer", {"x": ROWS}, model="small")
    assert isinstance(result, dict)
    np.testing.assert_allclose(result["y"], scaled(2.0))
    assert models.statistics().calls - calls == 2


@pytest.mark.parametrize("name", ["broken.xml", "hollow.onnx"])
async def test_a_model_that_does_not_load_gives_the_workers_words(
    models: AsyncFleet, folder: Path, engine: str, name: str
) -> None:
    (folder / "broken.bin").touch()
    with pytest.raises(InvalidParameterError, match=rf"{engine} worker failed: .+") as refused:
        await models.models.add("broken", folder / name)
    assert "'broken'" in str(refused.value)
    assert await models.models.list() == []
    assert (await models.call("echo", {"x": ROWS})).engine == engine, "the worker goes on"


async def test_a_model_that_does_not_load_can_be_kept(models: AsyncFleet, folder: Path) -> None:
    with pytest.raises(InvalidParameterError):
        await models.models.add("broken", folder / "broken.xml", keep=True)
    info = await models.models.info("broken")
    assert not info.ready
    assert info.workers[0].error
    with pytest.raises(UnavailableError, match="failed"):
        await models.infer("broken", {"x": ROWS})


async def test_a_bad_new_version_leaves_the_old_one_serving(models: AsyncFleet, folder: Path) -> None:
    await models.models.add("scale", folder / "twice.xml")
    with pytest.raises(InvalidParameterError):
        await models.models.add("scale", folder / "broken.xml")
    np.testing.assert_allclose((await models.infer("scale", {"x": ROWS}))["y"], scaled(2.0))


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "name with a dot": ("a.b", "twice.xml", {}, "a.b"),
    "name with a path": ("../a", "twice.xml", {}, "../a"),
    "empty name": ("", "twice.xml", {}, "name"),
    "upper case": ("Model", "twice.xml", {}, "Model"),
    "no file": ("m", "nothing.onnx", {}, "nothing.onnx"),
    "a folder": ("m", ".", {}, "path"),
    "weights missing": ("m", "alone.xml", {}, "alone.bin"),
    "no model": ("m", "text.onnx", {}, "neither ONNX nor OpenVINO IR"),
    "an empty file": ("m", "empty.onnx", {}, "neither ONNX nor OpenVINO IR"),
    "weights given": ("m", "twice.bin", {}, "neither ONNX nor OpenVINO IR"),
    "version 0": ("m", "twice.xml", {"version": 0}, "version is 0"),
    "max_batch 0": ("m", "twice.xml", {"max_batch": 0}, "max_batch is 0"),
    "max_batch true": ("m", "twice.xml", {"max_batch": True}, "max_batch"),
    "precision": ("m", "twice.xml", {"precision": "f8"}, "f8"),
    "device": ("m", "twice.xml", {"devices": ["TPU"]}, "TPU"),
    "queue delay": ("m", "twice.xml", {"max_queue_delay": 2.0}, "max_queue_delay is 2.0"),
}


@pytest.mark.parametrize(("name", "path", "options", "word"), REFUSED.values(), ids=REFUSED.keys())
async def test_bad_arguments_are_refused_before_anything_is_uploaded(
    models: AsyncFleet, folder: Path, name: str, path: str, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        await models.models.add(name, folder / path, **options)
    assert word in str(refused.value)
    assert await models.models.list() == []


async def test_without_workers_a_model_is_registered_and_nobody_serves_it(transport: str, folder: Path) -> None:
    with Broker() as broker:
        async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
            with pytest.raises(UnknownModelError):
                await fleet.infer("twice", {"x": ROWS})
            added = await fleet.models.add("twice", folder / "twice.xml")
            assert added.workers == ()
            with pytest.raises(UnavailableError, match="none is there"):
                await fleet.infer("twice", {"x": ROWS})
            with WorkerProcess(broker.url) as worker:
                await asyncio.to_thread(worker.wait, "model", state="ready")
                result = await fleet.call("infer", {"x": ROWS}, model="twice")
                assert result.fallback_reason == "no_responders"
                np.testing.assert_allclose(result["y"], scaled(2.0))
                assert (await fleet.models.info("twice")).ready
            await fleet.models.remove("twice")


async def test_a_broker_without_jetstream_has_no_registry(transport: str, tmp_path: Path) -> None:
    from npufleet.broker.server import Server

    configuration = tmp_path / "server.conf"
    configuration.write_text("")
    async with (
        await Server.start(configuration, {}) as server,
        AsyncFleet.connect(f"nats://127.0.0.1:{server.port}", transport=transport) as fleet,
    ):
        with pytest.raises(UnavailableError, match="JetStream"):
            await fleet.models.list()
        with pytest.raises(UnavailableError):
            await fleet.infer("any", {"x": ROWS})


def test_the_blocking_registry_does_the_same(
    broker: Broker, python_worker: WorkerProcess, transport: str, folder: Path
) -> None:
    with Fleet.connect(broker.url, transport=transport) as fleet:
        added = fleet.models.add("twice", folder / "twice.xml")
        np.testing.assert_allclose(fleet.infer("twice", {"x": ROWS})["y"], scaled(2.0))
        assert fleet.models.info("twice") == added
        assert fleet.models.list() == [added]
        fleet.models.remove("twice")
        assert fleet.models.list() == []
