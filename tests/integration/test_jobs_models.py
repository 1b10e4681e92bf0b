"""Inference as jobs: waiting for a model that loads, batched like calls, each job acknowledged alone."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import InvalidShapeError, UnknownModelError
from npufleet.wire import frame
from tests.support.jobs_stand import connected, jobs_broker, no_jobs, taking
from tests.support.model_stand import linear, register
from tests.support.waiting import until
from tests.support.worker_stand import client, endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.worker_stand import Broker

X = np.ones((1, 4), np.float32)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def test_a_job_waits_for_its_model_and_a_batch_of_them_is_one_inference(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        await register(plain, "double", 1, linear(2.0))
        jobs = await fleet.submit_many("infer", [{"x": X * n} for n in range(8)], model="double", retries=0)
        bad = await fleet.submit("infer", {"x": np.ones((1, 3), np.float32)}, model="double", retries=0)
        with taking(broker.url, "--executors", "8") as worker:
            results = await asyncio.gather(*(job.result() for job in jobs))
            assert [result["y"][0, 0] for result in results] == [8.0 * n for n in range(8)]
            assert {(await job.status()).attempt for job in jobs} == {1}
            with pytest.raises(InvalidShapeError):
                await bad.result()
            with pytest.raises(UnknownModelError):
                await (await fleet.submit("infer", {"x": X}, model="nosuch", retries=0)).result()
            await no_jobs(plain)
            counted = (await endpoints(plain, worker.id))["npu.v1.fallback.*.infer.double"]["data"]
            assert counted["rows"] == 8
            assert counted["batches"] < 8


async def test_the_work_of_a_traced_job_is_in_its_trace(broker: Broker, tmp_path: Path, worker_engine: str) -> None:
    traces = {"OTEL_TRACES_EXPORTER": "", "NPUFLEET_TRACE_DIR": str(tmp_path), "OTEL_BSP_SCHEDULE_DELAY": "50"}
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with taking(broker.url, engine=worker_engine, **traces):
        async with connected(broker) as fleet, client(broker.url) as plain:
            headers = {"Npu-Job-Id": "traced", "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
            payload = frame.encode({"x": np.arange(8.0)})
            await plain.request("npu.v1.job.normal.fft", payload, headers=headers)
            await fleet.job("traced").result()
            await until(lambda: {"receive", "execute", "reply"} <= _spans(tmp_path, trace_id), "the spans")


def _spans(folder: Path, trace_id: str) -> set[str]:
    found = set()
    for file in folder.rglob("*.jsonl"):
        for line in file.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    found |= {span["name"] for span in scope["spans"] if span["traceId"] == trace_id}
    return found
