"""A full disk under the broker: whoever submits hears it, and what was accepted is done when there is room again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import FleetError
from npufleet.wire import frame
from npufleet.wire.job import new_id
from tests.support.disks import small_disk
from tests.support.jobs_stand import connected, create_streams, taking
from tests.support.worker_stand import Broker, client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from npufleet import Job

X = {"x": np.zeros(25_000)}  # 200 KB
JOBS = 60


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(32) as path:
        yield path


def fill(disk: Path, megabytes_left: int = 1) -> Path:
    """Write a file that is none of the broker's."""
    other = disk / "somebody-else"
    with other.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    with other.open("r+b") as file:
        file.truncate(other.stat().st_size - (megabytes_left << 20))
    return other


@pytest.mark.timeout(120)
async def test_a_full_disk_is_an_error_and_loses_nothing(disk: Path) -> None:
    with Broker(store=disk, jetstream="sync_interval: always") as running:
        await create_streams(running.url)
        async with connected(running) as fleet:
            accepted: list[Job] = [await fleet.submit("echo", X) for _ in range(3)]
            other = await asyncio.to_thread(fill, disk)
            errors: list[FleetError] = []
            while len(accepted) < JOBS and not errors:
                try:
                    accepted.append(await fleet.submit("echo", X, timeout=1.0))
                except FleetError as error:
                    errors.append(error)
            assert errors, "the disk was never full"
            assert errors[0].kind in ("overloaded", "unknown", "unavailable")
            other.unlink()
            running.kill()
            running.start()
            with taking(running.url):
                results = await fleet.gather(accepted)
            assert len(results) == len(accepted) >= 3


async def test_whoever_waits_for_no_answer_loses_jobs_on_a_full_disk(disk: Path) -> None:
    """The control: the same disk, and a submitter that takes what it sent for accepted."""
    with Broker(store=disk, jetstream="sync_interval: always") as running:
        await create_streams(running.url)
        async with client(running.url, max_reconnect_attempts=-1) as plain:
            await asyncio.to_thread(fill, disk)
            sent = [new_id() for _ in range(JOBS)]
            for job_id in sent:
                await plain.publish("npu.v1.job.normal.echo", frame.encode(X), headers={"Npu-Job-Id": job_id})
            await plain.flush()
        (disk / "somebody-else").unlink()
        running.kill()
        running.start()
        async with client(running.url) as plain:
            found = set()
            for sequence in range(1, JOBS + 1):
                answer = await plain.request("$JS.API.DIRECT.GET.JOBS", b'{"seq": %d}' % sequence)
                found.add((answer.headers or {}).get("Npu-Job-Id"))
        assert set(sent) - found
