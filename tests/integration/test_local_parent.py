"""However the program that started a local fleet ends, nothing of the fleet outlives it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from tests.support.broker_stand import alive, fake_worker, source_environment
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, json, os, sys
from npufleet.broker.local import LocalFleet

async def main():
    fleet = await LocalFleet.start(["rust"])
    if {forks}:
        if os.fork() == 0:  # a child that keeps the pipe to the supervisor open
            os.read(0, 1)
            os._exit(0)
    print(json.dumps({{"pids": [*fleet.pids.values(), fleet._process.pid]}}), flush=True)
    await asyncio.to_thread(sys.stdin.read, 1)

asyncio.run(main())
"""


async def start(tmp_path: Path, *, forks: bool = False) -> tuple[asyncio.subprocess.Process, list[int]]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = source_environment(
        TMPDIR=str(temporary), NPUFLEET_WORKER_BINARY=fake_worker(tmp_path), NPUFLEET_NATIVE="auto"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM.format(forks=forks)), stdin=PIPE, stdout=PIPE, env=environment
    )
    assert process.stdout is not None
    said = json.loads(await asyncio.wait_for(process.stdout.readline(), 40))
    assert len(said["pids"]) == 3
    assert all(alive(pid) for pid in said["pids"])
    assert list(temporary.iterdir())
    return process, said["pids"]


async def gone(tmp_path: Path, pids: list[int]) -> None:
    await until(lambda: not any(alive(pid) for pid in pids), what="end of every process")
    await until(lambda: not list((tmp_path / "temporary").iterdir()), what="removal of the temporary folder")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_a_killed_parent_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process, pids = await start(tmp_path)
    process.send_signal(number)
    await process.communicate(b"")
    await gone(tmp_path, pids)


async def test_a_parent_that_just_ends_leaves_nothing(tmp_path: Path) -> None:
    process, pids = await start(tmp_path)
    await process.communicate(b"x")
    await gone(tmp_path, pids)


async def test_a_forked_child_of_a_killed_parent_keeps_nothing_alive(tmp_path: Path) -> None:
    process, pids = await start(tmp_path, forks=True)
    process.kill()
    await gone(tmp_path, pids)
    await process.communicate(b"")
