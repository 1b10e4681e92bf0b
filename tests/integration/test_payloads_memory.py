"""What large frames cost in memory: the live ones, and nothing that grows with the number of calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet
from tests.conftest import native_missing, rust_worker_missing
from tests.support.waiting import until
from tests.support.worker_stand import Broker, worker

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
KEPT = 150
"""Results of a mebibyte that are alive at once."""

NOISE = 16 * MIB
"""What allocators and interpreters take and give back meanwhile."""


def resident(*pids: int) -> int:
    """Bytes of memory of these processes, what they share counted once."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A broker's URL and the process of a Rust worker; the SDK in this process is the compiled one."""
    if why := native_missing() or rust_worker_missing():
        pytest.skip(why)
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(tmp_path))
    with Broker() as broker, worker(broker.url, engine="rust", NPUFLEET_ARENA_DIR=str(tmp_path)) as process:
        yield broker.url, process.process.pid


@pytest.mark.parametrize("calls", [200, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_memory_is_that_of_the_live_payloads(running: tuple[str, int], calls: int) -> None:
    url, pid = running
    pids = os.getpid(), pid
    sent = {"x": np.ones(MIB // 8)}
    async with AsyncFleet.connect(url, transport="native") as fleet:
        for _ in range(100):
            await fleet.call("echo", sent)
        before = resident(*pids)
        kept = [await fleet.call("echo", sent) for _ in range(KEPT)]
        assert all(result["x"][-1] == 1 for result in kept)
        assert resident(*pids) - before <= 1.2 * KEPT * MIB
        kept.clear()
        for _ in range(calls):
            await fleet.call("echo", sent)
        # As much as is free for the next results stays for a few seconds.
        assert resident(*pids) - before <= 1.2 * KEPT * MIB
        if calls > 1000:
            await until(lambda: resident(*pids) - before <= NOISE, "the memory of results to be given back", 15)
