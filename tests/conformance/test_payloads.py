"""Frames of any size by every way: each SDK transport with each engine, through the broker, the arena and ZeroMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet
from npufleet.wire import frame
from tests.conftest import native_missing, rust_worker_missing
from tests.support.arena_stand import INLINE_BYTES
from tests.support.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SIZES = [1, 511, 512, 100_000, 1 << 17, 1 << 20]
"""Doubles: below and above the threshold, below and above what the broker takes in one message."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arenas")


@pytest.fixture(scope="module", params=["rust", "python"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "rust" and (why := rust_worker_missing()):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture(scope="module")
def url(engine: str, folder: Path) -> Iterator[str]:
    """A broker with one worker of the engine."""
    options = ["--primary"] if engine == "python" else []
    # As much as can go over the channel does.
    environment = {"NPUFLEET_ARENA_DIR": str(folder), "NPUFLEET_CHANNEL_BYTES": "0"}
    with (
        Broker("max_payload: 16MB") as running,
        WorkerProcess(running.url, *options, engine=engine, **environment) as worker,
    ):
        worker.ready()
        yield running.url


@pytest.fixture(params=["native", "pure"])
def sdk(request: pytest.FixtureRequest) -> str:
    if request.param == "native" and (why := native_missing()):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture(params=["inline", "arena", "zeromq"])
async def fleet(
    request: pytest.FixtureRequest, url: str, sdk: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncFleet]:
    """A fleet whose large frames go the way that the parameter says."""
    # An arena in another folder is one on another host, as far as the worker can see.
    arenas = {"inline": "off", "arena": str(folder), "zeromq": str(tmp_path)}
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", arenas[request.param])
    monkeypatch.setenv("NPUFLEET_CHANNEL_BYTES", "0")
    async with AsyncFleet.connect(url, transport=sdk) as opened:
        yield opened


@pytest.mark.parametrize("count", SIZES)
async def test_what_is_sent_comes_back(
    fleet: AsyncFleet, engine: str, request: pytest.FixtureRequest, count: int
) -> None:
    sent = {"x": np.random.default_rng(count).standard_normal(count), "tag": np.array([count])}
    before = fleet.statistics().placements
    result = await fleet.call("echo", sent)
    assert {name: array.tobytes() for name, array in result.items()} == {n: a.tobytes() for n, a in sent.items()}
    assert (result.engine, result.fallback_reason) == (engine, None)
    after = fleet.statistics().placements
    parameters = request.node.callspec.params
    is_placed = parameters["fleet"] != "inline" and len(frame.encode(sent)) >= INLINE_BYTES[parameters["sdk"]]
    # What is asked for over ZeroMQ waits in our arena; what the worker could not get would come again inline.
    assert {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)} == {
        "arena" if is_placed else "inline": 1
    }


async def test_a_computation_on_a_large_array(fleet: AsyncFleet) -> None:
    rows = np.random.default_rng(1).standard_normal((64, 1024))
    np.testing.assert_allclose((await fleet.call("fft", rows)).array, np.fft.rfft(rows), atol=1e-9)
    mapped = await fleet.map("fft", rows, rows_per_request=16)
    np.testing.assert_allclose(mapped, np.fft.rfft(rows), atol=1e-9)


async def test_an_array_made_by_the_fleet_goes_as_any_other(fleet: AsyncFleet) -> None:
    array = fleet.empty((300, 400))
    array[...] = np.arange(120_000.0).reshape(300, 400)
    for _ in range(3):
        assert (await fleet.call("echo", array)).array.tobytes() == array.tobytes()
    assert fleet.asarray(array).tobytes() == array.tobytes()
