"""A power cut: what the broker acknowledged is there if it writes to the disk first, and only then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.disks import PowerDisk, power_disk
from tests.support.jobs_stand import connected, create_streams, messages, no_jobs, taking
from tests.support.worker_stand import Broker, client

if TYPE_CHECKING:
    from collections.abc import Iterator

JOBS = 40


@pytest.fixture
def disk() -> Iterator[PowerDisk]:
    with power_disk() as made:
        yield made


async def lost(disk: PowerDisk, jetstream: str) -> int:
    """Submit jobs, cut the power, and return how many of them a broker that starts on what is left does not have."""
    with Broker(store=disk.path, jetstream=jetstream) as running:
        await create_streams(running.url)
        async with connected(running) as fleet:
            # The streams' own files are older than the cut in any case.
            await asyncio.to_thread(disk.settle)
            jobs = [await fleet.submit("echo", {"tag": np.array(tag)}) for tag in range(JOBS // 2)]
            jobs += await fleet.submit_many("echo", [{"tag": np.array(tag)} for tag in range(JOBS // 2)])
            left = await asyncio.to_thread(disk.cut_power)
        running.kill()
    with Broker(store=left, jetstream=jetstream) as again:
        async with client(again.url) as plain:
            found = set()
            for sequence in range(1, JOBS + 1):
                answer = await plain.request("$JS.API.DIRECT.GET.JOBS", b'{"seq": %d}' % sequence)
                found.add((answer.headers or {}).get("Npu-Job-Id"))
    return sum(job.id not in found for job in jobs)


async def test_what_was_accepted_survives_a_power_cut(disk: PowerDisk) -> None:
    assert await lost(disk, "sync_interval: always") == 0


async def test_without_writing_before_acknowledging_a_power_cut_loses_jobs(disk: PowerDisk) -> None:
    """The same test must fail with the server's default, or it shows nothing."""
    assert await lost(disk, "") > 0


async def test_what_was_done_before_a_power_cut_is_not_done_again(disk: PowerDisk, worker_engine: str) -> None:
    """The broker forgets acknowledgements of the last moments; what comes again for that is dropped for its result."""
    with Broker(store=disk.path, jetstream="sync_interval: always") as running:
        await create_streams(running.url)
        async with connected(running) as fleet, client(running.url) as plain:
            await asyncio.to_thread(disk.settle)
            with taking(running.url, engine=worker_engine):
                jobs = await fleet.submit_many("echo", [{"tag": np.array(tag)} for tag in range(JOBS)])
                await fleet.gather(jobs)
                left = await asyncio.to_thread(disk.cut_power)
            before = [await job.status() for job in jobs]
            assert await messages(plain, "RESULTS") == JOBS
        running.kill()
    with Broker(store=left, jetstream="sync_interval: always") as again:
        async with connected(again) as fleet, client(again.url) as plain:
            with taking(again.url, engine=worker_engine):
                await no_jobs(plain)
            assert [await fleet.job(job.id).status() for job in jobs] == before
            assert await messages(plain, "RESULTS") == JOBS
