"""Lanes under a backlog, and workers that share the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet.wire import frame
from tests.support.jobs_stand import connected, jobs_broker, no_jobs, taking
from tests.support.worker_stand import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.worker_stand import Broker

X = np.arange(8.0)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def test_no_lane_starves(broker: Broker) -> None:
    async with connected(broker) as fleet:
        urgent = await fleet.submit_many("fft", [X] * 300, lane="realtime")
        patient = await fleet.submit_many("fft", [X] * 30, lane="low")
        with taking(broker.url, "--executors", "1"):
            await asyncio.gather(*(job.result() for job in (*urgent, *patient)))
        finished = [((await job.status()).finished or 0.0, job.lane) for job in (*urgent, *patient)]
        order = [lane for _, lane in sorted(finished)]
        # While both wait, one of 17 is a patient one; without a share all of them would come last.
        assert 5 <= order[:200].count("low") <= 30
        assert order[:100].count("realtime") >= 80, "the urgent ones go first"


async def test_several_workers_share_the_work(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url, "--executors", "1"), taking(broker.url, "--executors", "1"):
            jobs = await fleet.submit_many("echo", [{"x": X}] * 20, {"delay": 0.05})
            await asyncio.gather(*(job.result() for job in jobs))
            statuses = [await job.status() for job in jobs]
            assert len({status.worker for status in statuses}) == 2
            assert {status.attempt for status in statuses} == {1}
            await no_jobs(plain)


async def test_a_job_that_rust_handed_over_is_done_and_says_why(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        waiting = await fleet.submit("fft", X)
        with taking(broker.url):
            headers = {
                "Npu-Job-Id": "handed-over",
                "Npu-Attempt": "1",
                "Nats-Msg-Id": "handed-over:handover",
                "Npu-Fallback-Reason": "unsupported: no such kernel",
            }
            await plain.request("npu.v1.handover.normal.echo", frame.encode({"x": X}), headers=headers)
            result = await fleet.job("handed-over").result()
            assert result.fallback_reason == "unsupported: no such kernel"
            assert result.engine == "python"
            assert (await fleet.job("handed-over").status()).attempt == 2
            await waiting.result()
