"""What is over leaves the stream of jobs: together with others, past one that runs long, and after a killed broker."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet.broker import streams
from npufleet.transport import jetstream
from npufleet.worker.jobs.sweep import Sweep
from tests.support.jobs_stand import ACK_WAIT, connected, jobs_broker, messages, no_jobs, taking
from tests.support.waiting import until
from tests.support.worker_stand import Broker, client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

X = np.arange(8.0)
HELD_MOST = 1000


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def stop(broker: Broker) -> None:
    """End the broker in order, so that it writes down what its consumers have seen acknowledged."""
    broker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(broker.process.wait)


async def info(plain: Any, consumer: str, stream: str = "JOBS") -> dict[str, Any]:
    return dict(json.loads((await plain.request(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}")).data))


async def test_what_a_killed_broker_had_still_to_remove_is_removed(tmp_path: Path, worker_engine: str) -> None:
    """The broker wrote down that a job is acknowledged, and was killed before it removed it."""
    with Broker(store=tmp_path) as broker:
        async with client(broker.url) as plain:
            await streams.create(plain, ack_wait=ACK_WAIT)
        async with connected(broker) as fleet:
            job = await fleet.submit("fft", X)
        kept = tmp_path / "jetstream" / "$G" / "streams" / "JOBS" / "msgs"
        await stop(broker)
        shutil.copytree(kept, tmp_path / "before")
        broker.start()
        async with connected(broker) as fleet, client(broker.url) as plain:
            with taking(broker.url, engine=worker_engine):
                await fleet.job(job.id).result()
                await no_jobs(plain)
        await stop(broker)
        shutil.rmtree(kept)
        shutil.move(tmp_path / "before", kept)
        broker.start()
        async with client(broker.url) as plain:
            assert await messages(plain, "JOBS") == 1
            consumer = await info(plain, "job-normal")
            assert (consumer["num_pending"], consumer["num_ack_pending"]) == (0, 0), "nobody will get it again"
            with taking(broker.url, engine=worker_engine):
                await no_jobs(plain)


async def test_what_is_over_behind_a_long_job_is_known_to_be(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        long = await fleet.submit("echo", {"x": X}, {"delay": 60.0})
        short = await fleet.submit("fft", X)
        with taking(broker.url, "--executors", "2", engine=worker_engine):
            await short.result()
            await until(lambda: _open(plain, 1), "the acknowledgement of the short job")
            assert await messages(plain, "JOBS") == 2
            found = {each.job_id: each.state for each in await fleet.jobs.list()}
            assert found == {long.id: "running", short.id: "succeeded"}
            normal = next(each for each in await fleet.jobs.queues() if each.lane == "normal")
            assert (normal.waiting, normal.running) == (0, 1)
            await long.cancel()
            await no_jobs(plain)
        normal = next(each for each in await fleet.jobs.queues() if each.lane == "normal")
        assert normal.oldest is None


async def _open(plain: Any, count: int) -> bool:
    consumer = await info(plain, "job-normal")
    return bool(consumer["num_pending"] + consumer["num_ack_pending"] == count)


@pytest.mark.slow  # what is held back is left alone for five seconds
@pytest.mark.timeout(120)
async def test_one_long_job_does_not_fill_the_stream(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        long = await fleet.submit("echo", {"x": X}, {"delay": 60.0})
        jobs = await fleet.submit_many("fft", [X] * HELD_MOST)
        with taking(broker.url, "--executors", "2", engine=worker_engine):
            await fleet.gather(jobs)

            async def removed() -> bool:
                return await messages(plain, "JOBS") < HELD_MOST // 10

            await until(removed, "the removal of what is over", 30.0)
            await long.cancel()
            await no_jobs(plain, seconds=10.0)


async def test_a_stream_that_was_made_as_a_work_queue_removes_jobs_by_itself(worker_engine: str) -> None:
    with Broker() as broker:
        async with client(broker.url) as plain:
            old = {**streams.streams()["JOBS"], "retention": "workqueue", "deny_purge": True}
            old.pop("sources")
            await jetstream.ask(plain, "STREAM.CREATE.JOBS", old, 5.0)
            await streams.create(plain, ack_wait=ACK_WAIT)
            async with connected(broker) as fleet:
                jobs = await fleet.submit_many("fft", [X] * 3)
                with taking(broker.url, engine=worker_engine):
                    await fleet.gather(jobs)
                    await no_jobs(plain)


async def test_sweeping_delays_no_retry(broker: Broker) -> None:
    """What is to be delivered again is there at once, though the stream was swept meanwhile."""
    async with connected(broker) as fleet, client(broker.url) as plain:
        jobs = await fleet.submit_many("echo", [{"x": X}] * 3)
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        inbox = plain.new_inbox()
        await plain.subscribe(inbox, cb=arrived.put)

        async def pull() -> list[Any]:
            question = "$JS.API.CONSUMER.MSG.NEXT.JOBS.job-normal"
            await plain.publish(question, b'{"batch": 3, "group": "workers", "no_wait": true}', reply=inbox)
            found = []
            while (message := await asyncio.wait_for(arrived.get(), 5)).reply:
                found.append(message)
                if len(found) == len(jobs):
                    break
            return found

        first, *others = await pull()
        await plain.request(first.reply, b"+ACK")
        for other in others:
            await plain.publish(other.reply, b"-NAK")
        await plain.flush()
        await Sweep(plain, streams.consumers()).sweep()
        assert await messages(plain, "JOBS") == 2
        assert len(await pull()) == 2
