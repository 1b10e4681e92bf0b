"""Three nodes, one of which is lost: what was accepted is done, if there are three copies of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import FleetError
from npufleet.transport import jetstream
from tests.support.cluster_stand import Cluster, cluster
from tests.support.worker_stand import PATIENCE, WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from npufleet import AsyncFleet, Job

UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


async def leader(fleet: AsyncFleet) -> str:
    found: dict[str, Any] = await jetstream.ask(await fleet.control.client(), "STREAM.INFO.JOBS", None, 5.0)
    return str(found["cluster"]["leader"])


def worker(nodes: Cluster, number: int, folder: Path) -> WorkerProcess:
    return WorkerProcess(
        nodes.url(number),
        NPUFLEET_USER="worker",
        NPUFLEET_PASSWORD=nodes.passwords["worker"],
        NPUFLEET_TLS_CA=str(folder / "authority.pem"),
    )


async def submit(fleet: AsyncFleet, count: int) -> list[Job]:
    return [await fleet.submit("echo", {"tag": np.array(tag)}, timeout=20.0) for tag in range(count)]


@UNCLOSED
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_lost_node_loses_no_job(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.create_streams(replicas=3)
        async with nodes.connect(0, "operator") as operator:
            lost = nodes.node(await leader(operator))
        left = (lost + 1) % 3
        async with nodes.connect(left, "client1") as fleet:
            jobs = await submit(fleet, 10)
            await nodes.lose(lost)
            jobs += await submit(fleet, 10)
            with worker(nodes, left, tmp_path) as process:
                await asyncio.to_thread(process.wait, "jobs", PATIENCE, state="taking")
                results = await fleet.gather(jobs)
                assert [int(result["tag"]) for result in results] == [*range(10), *range(10)]


@UNCLOSED
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_with_one_copy_a_lost_node_takes_jobs_with_it(tmp_path: Path) -> None:
    """The control: the same, without copies."""
    async with cluster(tmp_path) as nodes:
        await nodes.create_streams(replicas=1)
        async with nodes.connect(0, "operator") as operator:
            lost = nodes.node(await leader(operator))
        left = (lost + 1) % 3
        async with nodes.connect(left, "client1") as fleet:
            await submit(fleet, 10)
            await nodes.lose(lost)
            with pytest.raises(FleetError):
                await fleet.submit("echo", {"tag": np.array(0)}, timeout=3.0)
        async with nodes.connect(left, "operator") as operator:
            client = await operator.control.client()
            with pytest.raises(FleetError):
                await jetstream.scan(client, "JOBS", {"seq": 1, "next_by_subj": ">", "batch": 100}, 3.0)
