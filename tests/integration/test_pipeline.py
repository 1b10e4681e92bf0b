"""`pipeline`: a chain of operations and models in one request, by either kind of worker."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import fft

from npufleet import (
    AsyncFleet,
    DeadlineExceededError,
    InvalidParameterError,
    InvalidShapeError,
    UnavailableError,
    UnknownModelError,
)
from npufleet._engine import native_or_none
from npufleet.telemetry import sampling, setup
from tests.support.model_stand import INPUTS, OUTPUTS, linear, register
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.worker_stand import Broker, client, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROWS = np.arange(3 * INPUTS, dtype=np.float32).reshape(3, INPUTS)
ECHO, FFT = {"operation": "echo"}, {"operation": "fft"}
TWICE = {"operation": "infer", "model": "twice"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as listening:
        yield listening


@pytest.fixture(scope="module", params=["rust", "python"])
def stand(request: pytest.FixtureRequest, receiver: OtlpReceiver) -> Iterator[tuple[str, str]]:
    """The address of a broker with one worker that serves the model `twice`, and the worker's engine."""
    engine = request.param
    if engine == "rust" and not hasattr(native_or_none(), "run_worker"):
        pytest.skip("no compiled extension with a worker")

    async def add_model(url: str) -> None:
        async with client(url) as plain:
            await register(plain, "twice", 1, linear(2.0))

    with Broker() as broker, worker(broker.url, engine=engine, **receiver.environment) as running:
        asyncio.run(add_model(broker.url))
        running.wait("model", name="twice", state="ready")
        yield broker.url, engine


@pytest.fixture
async def fleet(stand: tuple[str, str]) -> AsyncIterator[AsyncFleet]:
    async with AsyncFleet.connect(stand[0]) as connected:
        yield connected


async def test_a_model_between_operations(fleet: AsyncFleet, stand: tuple[str, str]) -> None:
    result = await fleet.pipeline(ROWS, steps=[ECHO, TWICE, FFT, {**ECHO, "inputs": {"spectrum": "y"}}])
    assert (result.engine, result.device) == (stand[1], "CPU")
    scores = np.repeat(ROWS.sum(axis=1, keepdims=True) * 2.0, OUTPUTS, axis=1)
    assert list(result) == ["spectrum"]
    np.testing.assert_allclose(result["spectrum"], fft.rfft(scores), rtol=1e-6)


async def test_a_long_chain_keeps_what_it_does_not_need(fleet: AsyncFleet) -> None:
    x = np.random.default_rng(1).standard_normal((4, 256))
    steps: list[dict[str, Any]] = [
        {"operation": "filter", "params": {"cutoff": 0.3, "order": 3}},
        {"operation": "wavelet", "params": {"level": 2}},
        {"operation": "wavelet", "params": {"method": "reconstruct"}},
        {"operation": "fft", "request_inputs": {}},
    ]
    found = (await fleet.pipeline({"x": x}, steps=steps))["y"]
    y = (await fleet.filter(x, cutoff=0.3, order=3))["y"]
    np.testing.assert_allclose(found, fft.rfft(y), atol=1e-9)


@pytest.mark.parametrize(
    ("steps", "error", "words"),
    [
        ([ECHO, TWICE, TWICE], InvalidShapeError, "step 3 (infer)"),
        ([TWICE, {**FFT, "inputs": {"x": "scores"}}], InvalidShapeError, "step 2 (fft): tensor 'x' would be 'scores'"),
        ([TWICE, {"operation": "fft", "params": {"axis": 2}}], InvalidParameterError, "step 2 (fft)"),
        ([{**TWICE, "params": {"version": 9}}], UnknownModelError, "step 1 (infer)"),
        ([ECHO, {**TWICE, "model": "nowhere"}], UnknownModelError, "step 2 (infer): model 'nowhere'"),
    ],
    ids=["outputs that do not fit", "an output that is not there", "a parameter", "a version", "a model"],
)
async def test_an_error_names_its_step(
    fleet: AsyncFleet, steps: list[dict[str, Any]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as refused:
        await fleet.pipeline(ROWS, steps=steps)
    assert words in str(refused.value)


async def test_the_deadline_is_looked_at_between_steps(fleet: AsyncFleet) -> None:
    delayed = {"operation": "echo", "params": {"delay": 0.3}}
    with pytest.raises(DeadlineExceededError):
        await fleet.pipeline(ROWS, steps=[delayed] * 16, timeout=0.5)
    # The worker has not gone on with the rest: it answers at once.
    await fleet.pipeline(ROWS, steps=[ECHO], timeout=2.0)


async def test_each_step_is_a_span(
    stand: tuple[str, str], receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    setup.shutdown()
    for name, value in {**receiver.environment, "OTEL_TRACES_SAMPLER": "always_on"}.items():
        monkeypatch.setenv(name, value)
    sampling.reload()
    try:
        async with AsyncFleet.connect(stand[0]) as fleet:
            result = await fleet.pipeline(ROWS, steps=[ECHO, TWICE, FFT])
        names = ["execute echo", "execute infer", "execute fft"]
        spans = receiver.wait_names(result.trace_id, "call pipeline", "execute", "reply", *names)
    finally:
        setup.shutdown()
        monkeypatch.undo()
        sampling.reload()
    assert {span.parent for name, span in spans.items() if name in names} == {spans["call pipeline"].id}
    assert spans["execute infer"].attributes["npufleet.model"] == "twice"
    assert spans["execute fft"].attributes["npufleet.operation"] == "fft"
    ordered = [spans["execute"].start, *(spans[name].start for name in names)]
    assert ordered == sorted(ordered)
    assert all(spans[name].end <= spans["execute"].end for name in names)


async def test_a_step_that_rust_cannot_do_takes_all_of_it_to_python() -> None:
    if not hasattr(native_or_none(), "run_worker"):
        pytest.skip("no compiled extension with a worker: nothing hands over")
    with Broker() as broker, worker(broker.url, engine="rust"), worker(broker.url):
        async with AsyncFleet.connect(broker.url) as fleet:
            x = np.arange(8, dtype=np.float16)
            result = await fleet.pipeline(x, steps=[ECHO, FFT])
            assert result.engine == "python"
            assert result.fallback_reason is not None
            assert result.fallback_reason.startswith("unsupported: step 2 (fft)")
            np.testing.assert_allclose(result["y"], fft.rfft(x), rtol=1e-5)
            assert (await fleet.pipeline(x.astype(np.float32), steps=[ECHO, FFT])).engine == "rust"


@pytest.mark.parametrize(
    ("steps", "error", "words"),
    [
        ([], InvalidParameterError, "0 steps; allowed: 1 to 16"),
        ([ECHO, {"operation": "fourier"}], InvalidParameterError, "step 2 (fourier): unknown operation"),
        (
            [ECHO, {**FFT, "params": {"norm": "loud"}}],
            InvalidParameterError,
            "step 2 (fft): parameter 'norm' is 'loud'",
        ),
        ([FFT, {"operation": "wavelet"}], InvalidShapeError, "step 2 (wavelet): tensor 'x' has dtype complex64"),
        ([FFT, {**FFT, "inputs": {"x": "z"}}], InvalidShapeError, "but fft gives: y"),
        ([ECHO, {**FFT, "params": {"axis": 5}}], InvalidParameterError, "step 2 (fft): parameter 'axis' is 5"),
    ],
)
async def test_what_is_known_to_be_wrong_is_not_sent(
    steps: list[dict[str, Any]], error: type[Exception], words: str
) -> None:
    with Broker() as broker:
        async with AsyncFleet.connect(broker.url) as fleet:
            with pytest.raises(error) as refused:
                await fleet.pipeline(ROWS, steps=steps)
            assert words in str(refused.value)
            assert refused.value.engine is None
            # What is right is sent, and nobody is there.
            with pytest.raises(UnavailableError):
                await fleet.pipeline(ROWS, steps=[ECHO], timeout=2.0)
