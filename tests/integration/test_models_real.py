"""Real models of five kinds through a fleet, on each engine, against onnxruntime: whoever asks gets their own rows."""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, Fleet
from tests.support.real_models import MODELS, REAL, RealModel, speech
from tests.support.worker_stand import Broker, primary_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

MAX_BATCH = 4


@pytest.fixture(scope="module")
def stand(worker_engine: str) -> Iterator[tuple[Broker, str]]:
    """A broker with one worker, which loads each of the models once."""
    with (
        tempfile.TemporaryDirectory(prefix="npufleet-test-") as cache,
        Broker() as broker,
        primary_worker(broker.url, worker_engine, "--cache-dir", cache),
    ):
        with Fleet.connect(broker.url) as fleet:
            for model in REAL:
                fleet.models.add(model.name, model.path, max_batch=MAX_BATCH, devices=["CPU"], precision="f32")
        yield broker, worker_engine


def check(model: RealModel, outputs: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    assert len(outputs) == len(expected)
    for name, wanted in expected.items():
        # OpenVINO may give an intermediate output another of its names.
        got = outputs[name] if name in outputs else next(o for n, o in outputs.items() if n not in expected)
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=model.tolerance, err_msg=f"{model.name} {name}")


@pytest.mark.parametrize("name", MODELS)
async def test_every_request_gets_what_onnxruntime_gives_it_alone(stand: tuple[Broker, str], name: str) -> None:
    broker, engine = stand
    model = MODELS[name]
    requests = model.requests() * 4
    async with AsyncFleet.connect(broker.url) as fleet:
        results = await asyncio.gather(*(fleet.call("infer", tensors, model=name) for tensors in requests))
    expected = [model.oracle(tensors) for tensors in model.requests()]
    for index, result in enumerate(results):
        assert (result.engine, result.device, result.fallback_reason) == (engine, "CPU", None)
        check(model, result, expected[index % len(expected)])


async def test_a_stream_keeps_its_state_between_calls(stand: tuple[Broker, str]) -> None:
    broker, _ = stand
    model = MODELS["voice"]
    ours = theirs = np.zeros((2, 1, 128), np.float32)
    probabilities = []
    async with AsyncFleet.connect(broker.url) as fleet:
        for chunk in speech(16):
            outputs = await fleet.infer("voice", {"input": chunk[np.newaxis], "state": ours})
            expected = model.oracle({"input": chunk[np.newaxis], "state": theirs})
            check(model, outputs, expected)
            ours, theirs = outputs["stateN"], expected["stateN"]
            probabilities.append(float(outputs["output"][0, 0]))
    assert np.ptp(probabilities) > 0.01, "the sound makes a difference"


async def test_the_answers_make_sense(stand: tuple[Broker, str]) -> None:
    """The classifier tells lines that stand on their head, the detector finds where the text is."""
    broker, _ = stand
    lines = MODELS["upside-down"].requests()[1]["x"]
    (page,) = MODELS["find-text"].requests()[0].values()
    async with AsyncFleet.connect(broker.url) as fleet:
        (turned,) = (await fleet.infer("upside-down", {"x": lines})).values()
        (found,) = (await fleet.infer("find-text", {"x": page})).values()
    assert turned.argmax(axis=1).tolist() == [1, 0]
    centres = [np.mean(np.nonzero(where), axis=1) for where in (found[0, 0] > 0.3, page[0, 0] < 0)]
    np.testing.assert_allclose(*centres, atol=8, err_msg="found around the ink")
