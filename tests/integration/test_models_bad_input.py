"""Requests that a model does not take, and files that are no models: refused by name, here and by the worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, InvalidParameterError, InvalidShapeError
from tests.support.model_stand import INPUTS, linear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.worker_stand import Broker

NAME = "particular"
GOOD = {"x": np.ones((2, INPUTS), np.float32)}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong name": ({"y": GOOD["x"]}, "tensor '"),
    "one too many": ({**GOOD, "y": GOOD["x"]}, "'y'"),
    "a wrong dtype": ({"x": np.ones((2, INPUTS))}, "dtype float64; allowed: float32"),
    "a wrong rank": ({"x": np.ones(INPUTS, np.float32)}, "shape [4]"),
    "a wrong size": ({"x": np.ones((2, INPUTS + 1), np.float32)}, "shape [2, 5]"),
    "too many rows": ({"x": np.ones((9, INPUTS), np.float32)}, "8"),
    "no rows": ({"x": np.ones((0, INPUTS), np.float32)}, "8"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for suffix, content in linear(1.0).items():
        (folder / suffix).write_bytes(content)
    wider = linear(1.0, rows=3)
    for suffix, content in wider.items():
        (folder / suffix.replace("model", "three")).write_bytes(content)
    return folder


@pytest.fixture
async def fleet_with_model(served: Broker, folder: Path) -> AsyncIterator[AsyncFleet]:
    async with AsyncFleet.connect(served.url) as fleet:
        await fleet.models.add(NAME, folder / "model.xml", max_batch=8)
        yield fleet
        for name in {info.name for info in await fleet.models.list()}:
            await fleet.models.remove(name)


def calls(fleet: AsyncFleet) -> int:
    return fleet.statistics().calls


async def test_what_a_model_does_not_take_is_refused_here_and_there(
    fleet_with_model: AsyncFleet, served: Broker
) -> None:
    fleet = fleet_with_model
    async with AsyncFleet.connect(served.url) as ignorant:
        for what, (tensors, words) in BAD.items():
            sent = calls(fleet)
            for each, where in ((fleet, "before it is sent"), (ignorant, "by the worker")):
                with pytest.raises(InvalidShapeError) as refused:
                    await each.infer(NAME, tensors)
                assert words in str(refused.value), (what, where)
            assert calls(fleet) == sent, f"{what} is refused before it is sent"
        assert calls(ignorant) == len(BAD)
    np.testing.assert_array_equal((await fleet.infer(NAME, GOOD))["y"], np.full((2, 2), INPUTS))


async def test_what_has_changed_since_it_was_heard_is_heard_again(
    fleet_with_model: AsyncFleet, served: Broker, folder: Path
) -> None:
    """Another program replaces the model by one that takes other rows: nothing good is refused."""
    fleet, three = fleet_with_model, {"x": np.ones((3, INPUTS), np.float32)}
    async with AsyncFleet.connect(served.url) as other:
        await other.models.add(NAME, folder / "three.xml", max_batch=3)
        assert (await fleet.infer(NAME, three))["y"].shape == (3, 2)
        with pytest.raises(InvalidShapeError):
            await fleet.infer(NAME, GOOD)


def damaged(folder: Path, name: str) -> Path:
    """A model that is none any more: its file cut, its files of different models, or of another format."""
    xml, weights = (folder / "model.xml").read_bytes(), (folder / "model.bin").read_bytes()
    root = Path(__file__).parents[2] / "workers-rs" / "crates" / "inference" / "tests" / "models"
    place = folder / name
    place.mkdir(exist_ok=True)
    contents = {
        "cut": ("model.xml", xml[: len(xml) // 2], weights),
        "without its weights": ("model.xml", xml, weights[:4]),
        "swapped": ("model.xml", weights + b"\0", xml),
        "a cut ONNX": ("model.onnx", (root / "linear.onnx").read_bytes()[:-40], None),
        "a picture": ("model.onnx", b"\x89PNG\r\n\x1a\n" + bytes(64), None),
        "another's name": ("model.onnx", xml, None),
    }
    file, content, beside = contents[name]
    (place / file).write_bytes(content)
    if beside is not None:
        (place / "model.bin").write_bytes(beside)
    return place / file


FILES = ["cut", "without its weights", "swapped", "a cut ONNX", "a picture", "another's name"]


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_is_no_model_is_refused_and_the_old_version_serves(
    fleet_with_model: AsyncFleet, folder: Path, name: str
) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        await fleet_with_model.models.add(NAME, damaged(folder, name))
    assert NAME in str(refused.value) or "path is" in str(refused.value)
    assert [info.version for info in await fleet_with_model.models.list()] == [1]
    assert (await fleet_with_model.infer(NAME, GOOD))["y"].shape == (2, 2)
