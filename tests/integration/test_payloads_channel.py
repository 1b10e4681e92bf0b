"""Large frames between processes that cannot open each other's arenas: over the ZeroMQ channel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet, InvalidParameterError, PayloadTooLargeError
from npufleet.payload.layout import CHANNEL_BYTES
from tests.support.waiting import until
from tests.support.worker_stand import Broker, primary_worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = np.random.default_rng(5).standard_normal(1 << 17)
"""1 MiB."""

HUGE = np.random.default_rng(6).standard_normal(1 << 21)
"""16 MiB: more than the broker takes."""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the worker's arena is: on another host, as far as its callers can see."""
    return tmp_path_factory.mktemp("there")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the arena of this process is."""
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def url(worker_engine: str, there: Path) -> Iterator[str]:
    """A broker with one worker."""
    with Broker() as broker, primary_worker(broker.url, worker_engine, NPUFLEET_ARENA_DIR=str(there)):
        yield broker.url


async def test_frames_that_no_message_carries_come_and_go(url: str, transport: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        for sent in (LARGE, HUGE, HUGE[::-1], LARGE):
            assert np.array_equal((await fleet.call("echo", {"x": sent}))["x"], sent)
        np.testing.assert_allclose(
            await fleet.fft(HUGE.reshape(-1, 1024)), np.fft.rfft(HUGE.reshape(-1, 1024)), atol=1e-9
        )
        assert fleet.statistics().placements == {"arena": 5}


async def test_what_is_quicker_through_the_broker_goes_there_once_no_memory_is_shared(url: str, transport: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        small = LARGE[: CHANNEL_BYTES // 16]
        for _ in range(3):
            assert np.array_equal((await fleet.call("echo", {"x": small}))["x"], small)
        assert fleet.statistics().placements == {"arena": 1, "inline": 2}
        for _ in range(2):
            assert np.array_equal((await fleet.call("echo", {"x": LARGE}))["x"], LARGE)
        assert fleet.statistics().placements == {"arena": 3, "inline": 2}


async def test_from_what_size_on_the_channel_is_used_may_be_set(
    url: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPUFLEET_CHANNEL_BYTES", "100000")
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        for count in (9000, 20_000, 9000, 20_000):
            await fleet.call("echo", {"x": LARGE[:count]})
        assert fleet.statistics().placements == {"arena": 3, "inline": 1}
    monkeypatch.setenv("NPUFLEET_CHANNEL_BYTES", "20k")
    with pytest.raises(InvalidParameterError, match="NPUFLEET_CHANNEL_BYTES is '20k'"):
        async with AsyncFleet.connect(url, transport=transport):
            pass


async def test_a_result_that_is_too_small_for_the_channel_and_too_large_for_the_broker(
    worker_engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = str(tmp_path_factory.mktemp("there"))
    with Broker("max_payload: 64KB") as broker, primary_worker(broker.url, worker_engine, NPUFLEET_ARENA_DIR=there):
        async with AsyncFleet.connect(broker.url) as fleet:
            assert (await fleet.call("window", {}, {"n": 10_000})).array.shape == (10_000,)


async def test_many_at_once(url: str, transport: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        sent = [LARGE[: 9000 + 1000 * (number % 7)] + number for number in range(100)]
        results = await asyncio.gather(*[fleet.call("echo", {"x": each}) for each in sent])
        assert all(np.array_equal(result["x"], each) for result, each in zip(results, sent, strict=True))
        assert fleet.statistics().placements == {"arena": 100}


async def test_a_small_request_may_have_a_large_result(url: str, transport: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        samples = fleet.max_payload
        for _ in range(2):  # the second time it is known
            assert (await fleet.call("window", {}, {"n": samples})).array.shape == (samples,)


async def test_results_are_given_back(url: str, transport: str, there: Path) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        for _ in range(5):
            await fleet.call("echo", {"x": HUGE})
        (arena,) = (there / f"npufleet-{os.geteuid()}").iterdir()
        size = arena.stat().st_size
        # A lease ends a second after the deadline, in 31 s: slots that were not given back would add up.
        for _ in range(40):
            await fleet.call("echo", {"x": HUGE})
        assert arena.stat().st_size <= size + 2 * 2 * HUGE.nbytes


async def test_a_call_that_is_given_up_while_its_result_is_fetched_ends_at_once(url: str, transport: str) -> None:
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        calls = [asyncio.ensure_future(fleet.call("echo", {"x": HUGE})) for _ in range(5)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert any(not isinstance(each, BaseException) for each in ended)
        assert np.array_equal((await fleet.call("echo", {"x": LARGE}))["x"], LARGE)


async def test_without_a_channel_the_broker_carries_what_it_can(
    url: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPUFLEET_CHANNEL", "off")
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        small = LARGE[: 1 << 15]
        for _ in range(3):
            assert np.array_equal((await fleet.call("echo", {"x": small}))["x"], small)
        assert fleet.statistics().placements == {"arena": 1, "inline": 3}, "it is not tried every time"
        with pytest.raises(PayloadTooLargeError):
            await fleet.call("echo", {"x": HUGE})


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def other_host() -> Iterator[tuple[str, str]]:
    """A network namespace of its own, joined by a cable: its name, and the address of this side."""
    name, cable = f"npu{os.getpid()}", f"nv{os.getpid()}"
    if shutil.which("ip") is None:
        pytest.skip("no `ip` here")
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    with contextlib.ExitStack() as stack:
        stack.callback(ip, "netns", "delete", name)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        # A namespace lives until its last socket has ended, and its cable with it.
        stack.callback(ip, "link", "delete", cable)
        ip("address", "add", "10.213.7.1/24", "dev", cable)
        ip("link", "set", cable, "up")
        ip("-n", name, "address", "add", "10.213.7.2/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name, "10.213.7.1"


@pytest.mark.slow
async def test_two_hosts_with_curve(
    other_host: tuple[str, str], worker_engine: str, transport: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    namespace, address = other_host
    there = tmp_path_factory.mktemp("there")
    with Broker(address=address) as broker:
        inside = ("ip", "netns", "exec", namespace)
        with primary_worker(broker.url, worker_engine, prefix=inside, NPUFLEET_ARENA_DIR=str(there)) as process:
            async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
                for _ in range(3):
                    assert np.array_equal((await fleet.call("echo", {"x": HUGE}))["x"], HUGE)
                process.process.kill()
                await until(lambda: process.process.poll() is not None)
