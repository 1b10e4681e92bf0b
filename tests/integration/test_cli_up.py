"""`npufleet up` as a real process: it starts, says so, restarts what crashes, and leaves nothing however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.broker_stand import alive, fake_worker, source_environment
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    Event = dict[str, Any]


@dataclass
class Up:
    """A running `npufleet up --json`, and what it has said."""

    process: asyncio.subprocess.Process
    folder: Path
    events: list[Event] = field(default_factory=list)

    async def say(self, event: str, **fields: Any) -> Event:
        """Wait until it says an event with these fields, first or again."""
        wanted = {"event": event, **fields}

        def said() -> Event | None:
            assert self.process.returncode is None, self.events
            return next((each for each in self.events if wanted.items() <= each.items()), None)

        found: Event = await until(said, f"event {wanted}", 40)
        return found

    @property
    def pids(self) -> list[int]:
        return [event["pid"] for event in self.events if event.get("event") == "started"]

    async def gone(self) -> None:
        await until(lambda: not any(alive(pid) for pid in self.pids), what="end of every process")
        await until(lambda: not list((self.folder / "temporary").iterdir()), what="removal of the temporary folder")
        await until(lambda: not (self.folder / "address.json").exists(), what="removal of the address")


@contextlib.asynccontextmanager
async def up(tmp_path: Path, *words: str, **environment: str) -> AsyncIterator[Up]:
    (tmp_path / "temporary").mkdir(exist_ok=True)
    place = source_environment(
        TMPDIR=str(tmp_path / "temporary"),
        NPUFLEET_ADDRESS_FILE=str(tmp_path / "address.json"),
        NPUFLEET_WORKER_BINARY=fake_worker(tmp_path),
        NPUFLEET_NATIVE="auto",
        **environment,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "npufleet", "up", "--workers", "rust", "--json", *words),
        stdout=PIPE,
        stderr=PIPE,
        env=place,
    )
    running = Up(process, tmp_path)

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            running.events.append(json.loads(line))

    reader = asyncio.create_task(read())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await reader
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    async with up(tmp_path, "--port", "0") as running:
        ready = await running.say("ready", child="rust")
        assert ready["engine"] == "rust"
        await until(lambda: (tmp_path / "address.json").exists())
        assert (tmp_path / "address.json").stat().st_mode & 0o777 == 0o600
        url = json.loads((tmp_path / "address.json").read_text())["url"]
        await running.say("ready", url=url, notes=[])
        running.process.send_signal(number)
        assert await asyncio.wait_for(running.process.wait(), 40) == 0
        assert running.events[-1] == {"event": "stopped"}
        await running.gone()


async def test_killed_leaves_nothing(tmp_path: Path) -> None:
    async with up(tmp_path, "--port", "0") as running:
        await running.say("ready", notes=[])
        running.process.kill()
        await running.gone()


async def test_a_signal_while_starting_stops_what_was_started(tmp_path: Path) -> None:
    async with up(tmp_path, "--port", "0", FAKE_WORKER_MODE="hang") as running:
        await running.say("started", child="rust")
        running.process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(running.process.wait(), 40) == 0
        await running.gone()


async def test_a_crash_is_said_and_repaired(tmp_path: Path) -> None:
    async with up(tmp_path, "--port", "0") as running:
        await running.say("ready", notes=[])
        first = (await running.say("started", child="rust"))["pid"]
        os.kill(first, signal.SIGKILL)
        await running.say("exited", child="rust", pid=first, status=-9, restart_in=0.5)
        await until(lambda: len(running.pids) == 3, what="restart")
        assert alive(running.pids[-1])


async def test_a_taken_port_is_one_line_and_status_3(tmp_path: Path) -> None:
    async with up(tmp_path, "--port", "0") as running:
        port = (await running.say("ready", notes=[]))["port"]
        second = tmp_path / "second"
        second.mkdir()
        async with up(second, "--port", str(port)) as late:
            assert await asyncio.wait_for(late.process.wait(), 40) == 3
            await until(lambda: "error" in late.events[-1])
            assert "address already in use" in late.events[-1]["error"]["message"]
            await late.gone()


async def test_people_read_lines(tmp_path: Path) -> None:
    environment = source_environment(
        NPUFLEET_ADDRESS_FILE=str(tmp_path / "address.json"),
        NPUFLEET_WORKER_BINARY=fake_worker(tmp_path),
        NPUFLEET_NATIVE="auto",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "npufleet", "up", "--workers", "rust", "--port", "0"),
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
    )
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(40):
        while not lines or "Ctrl-C" not in lines[-1]:
            line = await process.stdout.readline()
            assert line, await process.communicate()
            lines.append(line.decode())
    process.send_signal(signal.SIGINT)
    rest, errors = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0
    assert errors == b""
    text = "".join(lines)
    assert "broker   started, pid " in text
    assert "rust     ready on no device" in text
    assert "export NPUFLEET_URL=nats://npufleet:" in text
    assert "[INF]" not in text
    assert "rust     stopped" in rest.decode()
