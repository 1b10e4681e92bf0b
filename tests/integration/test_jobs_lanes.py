"""Lanes under a backlog, and workers that share the work."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import UnknownModelError
from npufleet.wire import frame
from tests.conftest import rust_worker_missing
from tests.support.jobs_stand import connected, dead_letter, jobs_broker, no_jobs, taking
from tests.support.worker_stand import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.worker_stand import Broker

X = np.arange(8.0)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def test_no_lane_starves(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet:
        urgent = await fleet.submit_many("fft", [X] * 300, lane="realtime")
        patient = await fleet.submit_many("fft", [X] * 30, lane="low")
        with taking(broker.url, "--executors", "1", engine=worker_engine):
            await asyncio.gather(*(job.result() for job in (*urgent, *patient)))
        finished = [((await job.status()).finished or 0.0, job.lane) for job in (*urgent, *patient)]
        order = [lane for _, lane in sorted(finished)]
        # While both wait, one of 17 is a patient one; without a share all of them would come last.
        assert 5 <= order[:200].count("low") <= 30
        assert order[:100].count("realtime") >= 80, "the urgent ones go first"


async def test_several_workers_share_the_work(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with (
            taking(broker.url, "--executors", "1", engine=worker_engine),
            taking(broker.url, "--executors", "1", engine=worker_engine),
        ):
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


@pytest.mark.skipif(rust_worker_missing() is not None, reason="no Rust worker")
async def test_rust_is_asked_first_and_hands_over_what_it_cannot_do(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url), taking(broker.url, engine="rust"):
            engines = [(await (await fleet.submit("fft", X)).result()).engine for _ in range(10)]
            assert engines.count("rust") >= 8, engines
            job = await fleet.submit("infer", {"x": X}, model="nosuch", retries=1)
            with pytest.raises(UnknownModelError):
                await job.result()
            letter = await dead_letter(plain, "infer", job.id)
            history = json.loads(letter.headers["Npu-History"])
            assert [(event["state"], event["engine"], event["attempt"]) for event in history] == [
                ("running", "rust", 1),
                ("running", "python", 2),
                ("failed", "python", 2),
            ]
            assert letter.headers["Npu-Fallback-Reason"].startswith("unknown_model: ")
            await no_jobs(plain)
