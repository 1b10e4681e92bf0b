"""Workers and callers that are killed at random moments: no slot stays theirs, and no call gets a wrong frame."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet, FleetError
from tests.conftest import native_missing, rust_worker_missing
from tests.support.broker_stand import source_environment
from tests.support.waiting import until
from tests.support.worker_stand import Broker, WorkerProcess, worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMES = pytest.mark.parametrize("times", [2, pytest.param(500, marks=pytest.mark.slow)])
SAMPLE = 10
"""With fewer kills nothing is waited for that owners do only when they have been idle for seconds."""

BACK_S = 5.0
"""How long after the last kill memory may take to be given back."""

CALLER = """
import sys
import numpy as np
from npufleet import Fleet
with Fleet.connect(sys.argv[1], transport="native") as fleet:
    sent = np.random.default_rng(0).standard_normal(50_000)
    kept = []
    print("calls", flush=True)
    while True:
        kept.append(fleet.call("echo", sent))
        del kept[:-20]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the arenas of a test's processes."""
    if why := native_missing() or rust_worker_missing():
        pytest.skip(why)
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(tmp_path))
    return tmp_path


def arenas(place: Path) -> dict[str, int]:
    """The arenas that are there, and how many bytes of memory are behind each.

    An empty file was being made when its process was killed: it has no memory, and goes after a minute.
    """
    folder, found = place / f"npufleet-{os.geteuid()}", {}
    for path in folder.iterdir() if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):
            if (state := path.stat()).st_size:
                found[path.name] = state.st_blocks * 512
    return found


async def given_back(place: Path, before: dict[str, int], times: int) -> None:
    """Wait until only the arenas of the living are there, and after many kills until their memory is what it was."""

    def is_back() -> bool:
        now = arenas(place)
        return now.keys() == before.keys() and (times < SAMPLE or sum(now.values()) <= sum(before.values()))

    await until(is_back, "the memory of the killed to be given back", BACK_S)


@contextlib.contextmanager
def caller(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that calls and keeps results, until it is killed."""
    command = [sys.executable, "-c", CALLER, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=source_environment())
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "calls\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@TIMES
async def test_callers_that_are_killed_keep_nothing(place: Path, times: int) -> None:
    moments = random.Random(1)
    with Broker() as broker, worker(broker.url, engine="rust", NPUFLEET_ARENA_DIR=str(place)):
        async with AsyncFleet.connect(broker.url, transport="native") as fleet:
            sent = np.arange(50_000.0)
            assert np.array_equal((await fleet.call("echo", {"x": sent}))["x"], sent)
            before = arenas(place)
            for _ in range(times):
                with caller(broker.url):
                    await asyncio.sleep(moments.uniform(0, 0.05))
                assert np.array_equal((await fleet.call("echo", {"x": sent}))["x"], sent)
            await given_back(place, before, times)


@TIMES
async def test_workers_that_are_killed_keep_nothing(place: Path, times: int) -> None:
    moments = random.Random(2)
    sent = np.arange(50_000.0)

    async def ask(fleet: AsyncFleet) -> bool:
        """Whether a call came through; one that did is right."""
        try:
            result = await fleet.call("echo", {"x": sent}, timeout=2.0)
        except FleetError:
            return False
        assert np.array_equal(result["x"], sent)
        return True

    async def keep_asking(fleet: AsyncFleet) -> None:
        while True:
            await ask(fleet)
            await asyncio.sleep(0)

    with Broker() as broker:
        async with AsyncFleet.connect(broker.url, transport="native") as fleet:
            await ask(fleet)
            before = arenas(place)
            for _ in range(times):
                process: WorkerProcess
                with worker(broker.url, engine="rust", NPUFLEET_ARENA_DIR=str(place)) as process:
                    asking = [asyncio.ensure_future(keep_asking(fleet)) for _ in range(4)]
                    await until(lambda: ask(fleet), "the worker to answer")
                    await asyncio.sleep(moments.uniform(0, 0.05))
                    process.process.kill()
                    process.process.wait()
                for each in asking:
                    each.cancel()
                ended = await asyncio.gather(*asking, return_exceptions=True)
                assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
            await given_back(place, before, times)
