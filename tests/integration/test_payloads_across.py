"""Frames of every size, over each transport, by each engine, beside the broker and through it."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, PayloadTooLargeError, _engine
from npufleet.payload import layout
from tests.conftest import rust_worker_missing
from tests.support.arena_stand import INLINE_BYTES, folder_in
from tests.support.waiting import until
from tests.support.worker_stand import Broker, WorkerProcess, primary_worker, worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZES = [0, 1, 4000, 4096, 5000, 60_000, 66_000, 500_000]
"""Bytes of arrays whose frames fit into a message, on both sides of what travels in one."""

KEPT = 1500
LIVES_ON_S = 3.0
"""Longer than any lease of a slot that nobody has, and several times as long as owners take to look."""


def compiled_arena_missing() -> str | None:
    """Why the compiled core cannot be tested with shared memory here, or None."""
    if why := rust_worker_missing():
        return why
    return None if hasattr(_engine.native_or_none().Client, "make") else "the compiled core has no arena"  # type: ignore[union-attr]


@pytest.fixture(params=["native", "pure"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each way of speaking to the broker, if it has shared memory."""
    if request.param == "native" and (why := compiled_arena_missing()):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the arenas of this module's processes, and nobody else's."""
    return tmp_path_factory.mktemp("arenas")


@pytest.fixture(scope="module", params=["python", "rust"])
def url(request: pytest.FixtureRequest, place: Path) -> Iterator[str]:
    """A broker with a worker of one engine."""
    if request.param == "rust" and (why := compiled_arena_missing()):
        pytest.skip(why)
    with Broker() as broker, primary_worker(broker.url, request.param, NPUFLEET_ARENA_DIR=str(place)):
        yield broker.url


@pytest.fixture(params=["arena", "inline"])
def placement(request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which way large frames go: one of them because this process has no shared memory."""
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(place) if request.param == "arena" else "off")
    return str(request.param)


@pytest.fixture
def shared(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process sees the workers' memory."""
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(place))


def bytes_of(size: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def arenas(place: Path) -> set[Path]:
    return set(folder_in(place).iterdir())


def generations(arena: Path) -> Any:
    """The words that an owner counts with when it puts a frame into a slot."""
    table = arena.read_bytes()[layout.TABLE_AT : layout.DATA_AT]
    return np.frombuffer(table, np.uint64).reshape(layout.SLOTS, -1)[:, 2]


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_sent_comes_back(url: str, transport: str, placement: str, size: int) -> None:
    sent = bytes_of(size)
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        for _ in range(3):  # the first of its kind, and those that are like one before
            result = await fleet.call("echo", {"x": sent, "y": sent.reshape(-1, 1)[::-1]})
            assert result["x"].tobytes() == sent.tobytes()
            assert result["y"].tobytes() == sent[::-1].tobytes()
        large = 2 * size >= INLINE_BYTES[transport]
        assert fleet.statistics().placements == {"arena" if large and placement == "arena" else "inline": 3}


async def test_what_no_message_carries(url: str, transport: str, placement: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        sent = bytes_of(8 * fleet.max_payload)
        if placement == "arena":
            assert (await fleet.call("echo", {"x": sent}))["x"].tobytes() == sent.tobytes()
        else:
            with pytest.raises(PayloadTooLargeError):
                await fleet.call("echo", {"x": sent})
        assert (await fleet.call("echo", {"x": sent[:10]}))["x"].tobytes() == sent[:10].tobytes()


async def test_a_small_request_may_have_a_large_result(url: str, transport: str, placement: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        samples = fleet.max_payload
        for _ in range(2):  # the second time it is known
            if placement == "arena":
                result = await fleet.call("window", {}, {"n": samples})
                assert result.array.shape == (samples,)
            else:
                with pytest.raises(PayloadTooLargeError):
                    await fleet.call("window", {}, {"n": samples})


async def test_operations_read_where_frames_lie(url: str, transport: str, placement: str) -> None:
    x = np.random.default_rng(1).standard_normal((48, 1024))
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        np.testing.assert_allclose(await fleet.fft(x), np.fft.rfft(x), atol=1e-9)
        before = fleet.statistics().calls
        spectra = await fleet.map("fft", np.tile(x, (20, 1)), concurrency=1)
        assert isinstance(spectra, np.ndarray)
        np.testing.assert_allclose(spectra, np.fft.rfft(np.tile(x, (20, 1))), atol=1e-9)
        requests = fleet.statistics().calls - before
        # 256 KiB each through the broker; 2 MiB past it, when the small ones have been answered in time.
        assert requests <= 20 if placement == "arena" else requests == 30


async def test_arrays_that_are_made_to_be_sent(url: str, transport: str, placement: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        made = fleet.empty((100, 1000), np.float32)
        made[:] = np.arange(1000)
        copied = fleet.asarray(np.arange(50_000))
        for _ in range(3):
            assert np.array_equal((await fleet.call("echo", {"x": made}))["x"], made)
            assert np.array_equal((await fleet.call("echo", {"x": copied}))["x"], np.arange(50_000))
            made += 1  # the caller's again, once the call is over
        assert np.array_equal((await fleet.call("echo", {"x": made, "y": copied[::2]}))["y"], copied[::2])


@pytest.mark.skipif(compiled_arena_missing() is not None, reason="the compiled core alone has a short way")
async def test_a_made_array_is_sent_from_where_it_lies_with_parameters_too(url: str, shared: None, place: Path) -> None:
    before = arenas(place)
    async with AsyncFleet.connect(url, transport="native") as fleet:
        made = fleet.empty((100, 1000))
        made[:] = np.arange(1000)
        (own,) = arenas(place) - before
        for _ in range(2):  # what is not known yet is looked at, and copied
            await fleet.call("fft", made, {"n": 10})
        frames = generations(own)
        for _ in range(3):
            answer = (await fleet.call("fft", made, {"n": 10}))["y"]
            np.testing.assert_allclose(answer, np.fft.rfft(made, 10), atol=1e-9)
        assert (generations(own) == frames).all()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_gives_nothing_back(url: str, transport: str, shared: None) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        held = [(await fleet.call("echo", {"x": np.full(10_000, -1.0)}))["x"], fleet.empty(10_000)]
        child = os.fork()
        if not child:
            try:
                held.clear()
                gc.collect()
            finally:
                os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        result, made = held
        for number in range(50):
            made[:] = number
            assert (await fleet.call("echo", {"x": made}))["x"][0] == number
        assert (result == -1.0).all()
        assert fleet.statistics().placements == {"arena": 51}


async def test_results_may_be_kept_by_the_thousand(url: str, transport: str, shared: None) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        kept = [(await fleet.call("echo", {"x": np.full(3000, float(number))}))["x"] for number in range(KEPT)]
        assert all((array == number).all() for number, array in enumerate(kept))


async def test_a_result_outlives_the_fleet_it_came_by(url: str, transport: str, shared: None) -> None:
    sent = bytes_of(100_000)
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        kept = [(await fleet.call("echo", {"x": sent}))["x"] for _ in range(10)]
    del fleet
    gc.collect()
    async with AsyncFleet.connect(url, transport=transport) as other:
        ends = time.monotonic() + LIVES_ON_S

        while time.monotonic() < ends:
            await other.call("echo", {"x": np.zeros(100_000, np.uint8)})
    assert all(array.tobytes() == sent.tobytes() for array in kept)


async def test_the_memory_of_a_killed_worker_is_given_back(transport: str, place: Path, shared: None) -> None:
    def files() -> set[str]:
        folder = place / f"npufleet-{os.geteuid()}"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    if why := compiled_arena_missing():
        pytest.skip(why)
    with Broker() as broker:
        async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
            before = files()
            process: WorkerProcess
            with worker(broker.url, engine="rust", NPUFLEET_ARENA_DIR=str(place)) as process:
                kept = (await fleet.call("echo", {"x": bytes_of(100_000)}))["x"]
                await until(lambda: len(files() - before) == 2, "both arenas")
                process.process.kill()
            await until(lambda: len(files() - before) == 1, "the worker's arena to go")
            assert kept.tobytes() == bytes_of(100_000).tobytes(), "what was read stays readable"
