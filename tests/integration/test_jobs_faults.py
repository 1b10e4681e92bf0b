"""Jobs when things go wrong: workers and brokers that die, hang and come back, streams that are full or missing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import (
    CallCancelledError,
    DeadlineExceededError,
    InternalError,
    OverloadedError,
    UnavailableError,
    UnknownOutcomeError,
)
from npufleet.wire import frame
from tests.support.jobs_stand import (
    ACK_WAIT,
    connected,
    dead_letter,
    jobs_broker,
    messages,
    no_jobs,
    state,
    taking,
    update,
)
from tests.support.waiting import until
from tests.support.worker_stand import Broker, client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npufleet import Job

X = np.arange(8.0)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def begun(job: Job) -> None:
    async for event in job.events():
        if event.state == "running":
            return


async def test_a_killed_workers_job_is_done_by_another(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet:
        with taking(broker.url, engine=worker_engine) as first:
            job = await fleet.submit("echo", {"x": X}, {"delay": 0.5})
            await begun(job)
            first.process.kill()
            died = time.monotonic()
        with taking(broker.url, engine=worker_engine):
            assert (await job.result())["x"].tolist() == X.tolist()
            assert time.monotonic() - died < ACK_WAIT + 5
        assert (await job.status()).attempt == 2


async def test_long_work_is_kept_alive(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url, engine=worker_engine), taking(broker.url, engine=worker_engine):
            job = await fleet.submit("echo", {"x": X}, {"delay": 2.5 * ACK_WAIT})
            await job.result()
            assert (await job.status()).attempt == 1, "no other worker got it"
            await no_jobs(plain)


async def test_a_worker_back_from_the_dead_changes_nothing(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url, engine=worker_engine) as zombie:
            job = await fleet.submit("echo", {"x": X}, {"delay": 0.5})
            await begun(job)
            os.kill(zombie.process.pid, signal.SIGSTOP)
            with taking(broker.url, engine=worker_engine) as healthy:
                await job.result()
                committed = await job.status()
                assert committed.worker == healthy.id
                os.kill(zombie.process.pid, signal.SIGCONT)
                # It has finished its own attempt when it ends in order.
                assert await asyncio.to_thread(zombie.terminate) == 0
                assert await job.status() == committed
                assert await messages(plain, "RESULTS") == 1


async def test_a_job_that_kills_its_workers_becomes_a_dead_letter(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        job = await fleet.submit("echo", {"x": X}, {"delay": 30.0}, retries=1)
        for attempt in (1, 2):
            with taking(broker.url, engine=worker_engine) as victim:
                await until(lambda number=attempt: _attempt(job, number))
                victim.process.kill()
        with taking(broker.url, engine=worker_engine):
            healthy = await fleet.submit("fft", X)
            await healthy.result()
            with pytest.raises(InternalError, match="no worker lived"):
                await job.result()
            # The letter follows the result; a worker has to be there for it.
            letter = await dead_letter(plain, "echo", job.id)
        assert [event["state"] for event in json.loads(letter.headers["Npu-History"])] == [
            "running",
            "running",
            "failed",
        ]


async def _attempt(job: Job, number: int) -> bool:
    return (await job.status()).attempt == number


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet:
        with taking(broker.url, "--executors", "1", engine=worker_engine) as first:
            running = await fleet.submit("echo", {"x": X}, {"delay": 0.5})
            await begun(running)
            waiting = await fleet.submit("fft", X)
            assert await asyncio.to_thread(first.terminate) == 0
            assert (await running.result()).engine == worker_engine
            status = await running.status()
            assert (status.worker, status.attempt) == (first.id, 1)
            started = time.monotonic()
        with taking(broker.url, engine=worker_engine):
            await waiting.result()
            assert time.monotonic() - started < ACK_WAIT + 2


async def test_what_does_not_end_in_time_is_given_back(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet:
        with (
            taking(broker.url, "--drain-timeout", "0.1", engine=worker_engine) as first,
            taking(broker.url, "--executors", "2", engine=worker_engine) as second,
        ):
            jobs = [await fleet.submit("echo", {"x": X}, {"delay": 1.5}) for _ in range(2)]
            for job in jobs:
                await begun(job)
            assert await asyncio.to_thread(first.terminate) == 0
            await asyncio.gather(*(job.result() for job in jobs))
            assert {(await job.status()).worker for job in jobs} == {second.id}


async def test_a_broker_that_is_killed_keeps_what_it_accepted(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet:
        jobs = [await fleet.submit("fft", X + n) for n in range(20)]
        broker.kill()
        broker.start()
        with taking(broker.url, engine=worker_engine):
            results = await asyncio.gather(*(job.result() for job in jobs))
        assert [result.array[0].real for result in results] == [28.0 + 8 * n for n in range(20)]


async def test_workers_go_on_when_the_broker_is_back(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet:
        with taking(broker.url, engine=worker_engine):
            await (await fleet.submit("fft", X)).result()
            running = await fleet.submit("echo", {"x": X}, {"delay": 1.0})
            await begun(running)
            broker.kill()
            broker.start()
            back = time.monotonic()
            later = await fleet.submit("fft", X)
            await asyncio.gather(later.result(), running.result())
            assert time.monotonic() - back < ACK_WAIT + 5


async def test_a_key_has_one_effect_after_a_restart_of_the_broker(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url, engine=worker_engine):
            first = await fleet.submit("fft", X, idempotency_key="once")
            await first.result()
            before = await first.status()
            broker.kill()
            broker.start()
            again = await fleet.submit("fft", X, idempotency_key="once")
            await again.result()
            assert await again.status() == before
            # The broker took it again: it remembers the ids of what it still stores. The workers remember results.
            await no_jobs(plain)
            assert await again.status() == before
            assert await messages(plain, "RESULTS") == 1


@pytest.mark.parametrize("batches", [True, False])
async def test_results_that_are_written_together_are_each_the_first(
    broker: Broker, worker_engine: str, *, batches: bool
) -> None:
    # Every job is there three times, as after lost acknowledgements, so one that is done meets itself.
    ids, payload = [f"job-{number}" for number in range(300)], frame.encode({"x": X})
    async with connected(broker) as fleet, client(broker.url) as plain:
        if not batches:  # a stream that was made before the worker could write results together
            await update(plain, "RESULTS", allow_atomic=False)
        for job_id in ids * 3:
            await plain.publish("npu.v1.job.normal.echo", payload, headers={"Npu-Job-Id": job_id})
        with taking(broker.url, engine=worker_engine):
            for result in await fleet.gather([fleet.job(job_id) for job_id in ids]):
                assert result["x"].tolist() == X.tolist()
            await no_jobs(plain)
        results = await state(plain, "RESULTS")
        # The last sequence counts what was ever stored: nothing was replaced.
        assert results["messages"] == results["last_seq"] == len(ids)


async def test_the_outcome_of_a_submit_can_be_unknown(broker: Broker, transport: str) -> None:
    async with connected(broker, transport) as fleet, client(broker.url) as plain:
        await fleet.submit("fft", X)
        os.kill(broker.process.pid, signal.SIGSTOP)
        # On a busy machine it takes a moment.
        await asyncio.to_thread(os.waitid, os.P_PID, broker.process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            with pytest.raises(UnknownOutcomeError, match="unknown") as caught:
                await fleet.submit("fft", X, idempotency_key="twice", timeout=0.5)
        finally:
            os.kill(broker.process.pid, signal.SIGCONT)
        assert caught.value.kind == "unknown"
        job = await fleet.submit("fft", X, idempotency_key="twice")
        assert caught.value.job_id == job.id
        assert await messages(plain, "JOBS") == 2


async def test_a_full_stream_says_so_and_drops_nothing(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        await update(plain, "JOBS", max_msgs=3)
        jobs = [await fleet.submit("fft", X) for _ in range(3)]
        with pytest.raises(OverloadedError, match="maximum messages"):
            await fleet.submit("fft", X)
        with pytest.raises(OverloadedError):
            await fleet.submit_many("fft", [X, X])
        assert await messages(plain, "JOBS") == 3
        with taking(broker.url, engine=worker_engine):
            await asyncio.gather(*(job.result() for job in jobs))
            await no_jobs(plain)
            await (await fleet.submit("fft", X)).result()


async def test_jobs_submitted_at_once_are_judged_one_by_one(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        first = await fleet.submit("fft", X, idempotency_key="there already")
        await update(plain, "JOBS", max_msgs=4)
        keys = ["a", "there already", "b", "c", "d"]
        outcomes = await asyncio.gather(
            *(fleet.submit("fft", X, idempotency_key=key) for key in keys), return_exceptions=True
        )
        kinds = [type(outcome).__name__ for outcome in outcomes]
        assert kinds == ["Job", "Job", "Job", "Job", "OverloadedError"]
        assert outcomes[1].id == first.id  # type: ignore[union-attr]
        assert await messages(plain, "JOBS") == 4


async def test_a_stream_that_takes_no_batches_takes_jobs(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        await update(plain, "JOBS", allow_atomic=False)
        await fleet.submit("fft", X)
        for round_ in (1, 2):
            await asyncio.gather(*(fleet.submit("fft", X) for _ in range(20)))
            assert await messages(plain, "JOBS") == 20 * round_ + 1


async def test_a_broker_without_the_streams_says_so(transport: str) -> None:
    with Broker() as bare:
        async with connected(bare, transport) as fleet:
            started = time.monotonic()
            with pytest.raises(UnavailableError, match="no stream"):
                await fleet.submit("fft", X)
            assert time.monotonic() - started < 5


async def test_no_broker_is_no_job(broker: Broker, transport: str) -> None:
    async with connected(broker, transport) as fleet:
        await fleet.submit("fft", X)
        broker.kill()
        control = await fleet.control.client()
        await until(lambda: not control.is_connected)
        with pytest.raises(UnavailableError) as caught:
            await fleet.submit("fft", X, timeout=1.0)
        assert not isinstance(caught.value, UnknownOutcomeError)


async def test_a_deadline_passes_while_the_job_waits(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet:
        job = await fleet.submit("fft", X, deadline=0.2)
        end = time.time() + 0.25
        await until(lambda: time.time() > end)
        with (
            taking(broker.url, engine=worker_engine),
            pytest.raises(DeadlineExceededError, match="while the job waited"),
        ):
            await job.result()


async def test_a_job_that_waits_can_be_cancelled_without_a_worker(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        job = await fleet.submit("echo", {"x": X}, {"delay": 30.0})
        assert (await job.cancel(timeout=0.2)).state == "queued"
        with taking(broker.url, engine=worker_engine):
            with pytest.raises(CallCancelledError):
                await job.result()
            await no_jobs(plain, seconds=5)


async def test_a_failed_job_whose_worker_died_before_its_dead_letter_gets_one(
    broker: Broker, worker_engine: str
) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        job = await fleet.submit("echo", {"x": X}, {"delay": 30.0})
        failed = {"Npu-Error-Kind": "internal", "Nats-Service-Error": "it broke", "Nats-Service-Error-Code": "500"}
        await plain.request(f"npu.v1.result.{job.id}", b"", headers=failed)
        with taking(broker.url, engine=worker_engine):
            letter = await dead_letter(plain, "echo", job.id)
            assert letter.headers["Nats-Service-Error"] == "it broke"
            await no_jobs(plain)
