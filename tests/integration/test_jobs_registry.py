"""Listing, repeating, scheduling and waiting for many jobs."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import (
    CallCancelledError,
    DeadlineExceededError,
    Fleet,
    InvalidParameterError,
    PayloadTooLargeError,
    UnknownModelError,
)
from npufleet.jobs.schedule import schedule
from npufleet.wire.job import INLINE_BYTES
from tests.support.jobs_stand import connected, dead_letter, jobs_broker, messages, no_jobs, state, taking
from tests.support.waiting import until
from tests.support.worker_stand import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npufleet import AsyncFleet
    from tests.support.worker_stand import Broker

X = np.arange(8.0)
LARGE = np.zeros(INLINE_BYTES // 8 + 1)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def test_jobs_are_listed_by_state_and_operation(broker: Broker) -> None:
    async with connected(broker) as fleet:
        with taking(broker.url, "--executors", "1"):
            done = await fleet.submit("fft", X)
            await done.result()
            failed = await fleet.submit("infer", {"x": X}, model="nosuch", retries=0)
            with pytest.raises(UnknownModelError):
                await failed.result()
            running = await fleet.submit("echo", {"x": X}, {"delay": 30.0})
            await until(lambda: _is_running(running), "a running job")
            waiting = await fleet.submit("fft", X, lane="low")
            later = await fleet.submit("fft", X, run_at=3600)
            listed = {each.job_id: each for each in await fleet.jobs.list()}
            assert {job: status.state for job, status in listed.items()} == {
                done.id: "succeeded",
                failed.id: "failed",
                running.id: "running",
                waiting.id: "queued",
                later.id: "scheduled",
            }
            assert listed[waiting.id].lane == "low"
            assert (listed[running.id].operation, listed[running.id].attempt) == ("echo", 1)
            assert listed[failed.id].error_kind == "unknown_model"
            assert [each.job_id for each in await fleet.jobs.list(state="failed")] == [failed.id]
            ffts = await fleet.jobs.list(operation="fft")
            assert {each.job_id for each in ffts} == {done.id, waiting.id, later.id}
            queues = {each.lane: each for each in await fleet.jobs.queues()}
            assert (queues["low"].waiting, queues["normal"].running, queues["high"].waiting) == (1, 1, 0)
            assert queues["low"].oldest is not None
            assert 0 <= queues["low"].oldest < 60
            assert queues["high"].oldest is None
            await running.cancel()
        with pytest.raises(InvalidParameterError, match="state"):
            await fleet.jobs.list(state="lost")
        with pytest.raises(InvalidParameterError, match="limit"):
            await fleet.jobs.list(limit=0)


async def _is_running(job: object) -> bool:
    return (await job.status()).state == "running"  # type: ignore[attr-defined]


async def failing(fleet: AsyncFleet, x: object = X) -> str:
    job = await fleet.submit("infer", {"x": x}, model="nosuch", retries=0, lane="high")
    with pytest.raises(UnknownModelError):
        await job.result()
    return job.id


async def test_a_dead_letter_is_shown_repeated_and_removed(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url):
            first, second, large = [await failing(fleet), await failing(fleet), await failing(fleet, LARGE)]
            await asyncio.gather(*(dead_letter(plain, "infer", job_id) for job_id in (first, second, large)))
            assert {letter.job_id for letter in await fleet.jobs.dead.list()} == {first, second, large}
            assert await fleet.jobs.dead.list(operation="fft") == []
            letter = await fleet.jobs.dead.show(large)
            assert (letter.operation, letter.model, letter.lane, letter.attempt) == ("infer", "nosuch", "high", 1)
            assert letter.size > INLINE_BYTES
            assert [event["state"] for event in letter.history] == ["running", "failed"]
            again = await fleet.jobs.retry(large)
            assert again.id == f"{large}-r1"
            with pytest.raises(UnknownModelError):
                await again.result()
            await dead_letter(plain, "infer", again.id)
            with pytest.raises(InvalidParameterError, match="no dead letter"):
                await fleet.jobs.dead.show(large)
            assert (await fleet.jobs.dead.replay(again.id)).id == f"{large}-r2"
            assert await fleet.jobs.dead.purge(first) == 1
            await dead_letter(plain, "infer", f"{large}-r2")
            assert await fleet.jobs.purge() == 2
            assert await messages(plain, "DEAD") == await messages(plain, "PAYLOADS") == 0


async def test_a_repeated_job_succeeds_when_its_cause_is_gone(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url):
            job = await fleet.submit("echo", {"x": X}, {"delay": 0.5}, attempt_timeout=0.1, retries=0)
            with pytest.raises(Exception, match="was ended"):
                await job.result()
            letter = await dead_letter(plain, "echo", job.id)
            assert letter.headers["Npu-Attempt-Timeout"] == "100000"
        # The same job in a fleet that gives it more time.
        body = letter.data
        await plain.request("$JS.API.STREAM.PURGE.DEAD", b"")
        headers = {name: value for name, value in letter.headers.items() if name.startswith("Npu-")}
        headers["Npu-Attempt-Timeout"] = "5000000"
        await plain.request(f"npu.v1.dead.echo.{job.id}", body, headers=headers)
        with taking(broker.url):
            again = await fleet.jobs.retry(job.id)
            assert (await again.result())["x"].tolist() == X.tolist()


async def test_many_results(broker: Broker) -> None:
    async with connected(broker) as fleet:
        with taking(broker.url, "--executors", "2"):
            slow = await fleet.submit("echo", {"x": X}, {"delay": 2.0})
            quick = await fleet.submit("fft", X)
            bad = await fleet.submit("infer", {"x": X}, model="nosuch", retries=0)
            order = [job.id async for job in fleet.as_completed([slow, quick, bad])]
            assert set(order) == {slow.id, quick.id, bad.id}
            assert order.index(quick.id) < order.index(slow.id)
            results = await fleet.gather([slow, bad, quick], return_errors=True)
            assert results[0]["x"].tolist() == X.tolist()
            assert isinstance(results[1], UnknownModelError)
            assert results[2].array.shape == (5,)
            with pytest.raises(UnknownModelError):
                await fleet.gather([slow, bad])
            late = await fleet.submit("echo", {"x": X}, {"delay": 30.0})
            with pytest.raises(DeadlineExceededError):
                await fleet.gather([late], timeout=0.1)
            await late.cancel()


def test_many_results_blocking(broker: Broker) -> None:
    with taking(broker.url), Fleet.connect(broker.url) as fleet:
        jobs = [fleet.submit("fft", X), fleet.submit("echo", {"x": X}, {"delay": 2.0})]
        assert [job.id for job in fleet.as_completed(jobs)] == [job.id for job in jobs]
        assert len(fleet.gather(jobs)) == 2
        assert jobs[0].wait().state == "succeeded"
        assert {status.job_id for status in fleet.jobs.list(state="succeeded")} == {job.id for job in jobs}
        assert [queue.waiting for queue in fleet.jobs.queues()] == [0] * 5
        assert fleet.jobs.dead.list() == []


async def test_a_job_for_later_is_done_then(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url):
            moment = datetime.now(UTC) + timedelta(seconds=2)
            job = await fleet.submit("fft", X, run_at=moment, lane="high")
            assert (await job.status()).state == "scheduled"
            assert np.allclose((await job.result()).array, np.fft.rfft(X))
            assert datetime.now(UTC) >= moment
            status = await job.status()
            assert (status.job_id, status.lane) == (job.id, "high")
            assert not (await state(plain, "SCHEDULES"))["subjects"].get(f"npu.v1.schedule.{job.id}")


async def test_a_repeated_job_runs_until_it_is_cancelled(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url):
            job = await fleet.submit("fft", X, every="1s")
            runs = await until(lambda: _done(fleet, 2), "two runs")
            assert all(run.startswith(f"{job.id}-") for run in runs)
            assert np.allclose((await fleet.job(runs[0]).result()).array, np.fft.rfft(X))
            assert (await job.cancel()).state == "cancelled"
            assert f"npu.v1.schedule.{job.id}" not in (await state(plain, "SCHEDULES"))["subjects"]
            await no_jobs(plain)


async def _done(fleet: AsyncFleet, count: int) -> list[str]:
    found = [status.job_id for status in await fleet.jobs.list(state="succeeded")]
    return found if len(found) >= count else []


async def test_a_schedule_cancelled_while_no_worker_was_there_ends_at_its_next_run(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        once = await fleet.submit("fft", X, run_at=1.0)
        many = await fleet.submit("fft", X, every=timedelta(seconds=1))
        for job in (once, many):
            await job.cancel(timeout=0.05)
        with taking(broker.url):
            with pytest.raises(CallCancelledError):
                await once.result()
            await until(lambda: _no_schedules(plain), "the end of the schedule")
            assert await fleet.jobs.list(state="succeeded") == []


async def _no_schedules(plain: object) -> bool:
    names = (await state(plain, "SCHEDULES")).get("subjects") or {}  # type: ignore[arg-type]
    return not any(".schedule." in name for name in names)


async def test_schedules_outlive_the_broker(broker: Broker) -> None:
    async with connected(broker) as fleet:
        job = await fleet.submit("fft", X, run_at=2.0)
        broker.kill()
        broker.start()
        with taking(broker.url):
            assert (await job.result()).array.shape == (5,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"run_at": -1.0}, "run_at"),
        ({"run_at": datetime(2040, 1, 1)}, "time zone"),
        ({"every": "soon"}, "every"),
        ({"every": "0s"}, "every"),
        ({"every": "1.5s"}, "every"),
        ({"every": timedelta(milliseconds=1500)}, "every"),
        ({"every": "15m", "run_at": 5.0}, "both"),
        ({"every": "15m", "deadline": 5.0}, "both"),
    ],
)
async def test_times_that_cannot_be_are_refused(broker: Broker, options: dict[str, object], words: str) -> None:
    async with connected(broker) as fleet:
        with pytest.raises(InvalidParameterError, match=words):
            await fleet.submit("fft", X, **options)  # type: ignore[arg-type]
        with pytest.raises(PayloadTooLargeError):
            await fleet.submit("fft", LARGE, every="15m")


def test_times_as_the_broker_reads_them() -> None:
    assert schedule(None, "1h30m") == "@every 5400s"
    assert schedule(None, timedelta(days=1)) == "@every 86400s"
    assert schedule(None, None) is None
    moment = datetime(2030, 5, 6, 7, 8, 9, 500, tzinfo=UTC)
    assert schedule(moment, None) == "@at 2030-05-06T07:08:10Z"
    assert abs(json.loads(f"{time.time() + 60:.0f}") - _unix(schedule(60.0, None))) <= 2


def _unix(word: str | None) -> float:
    assert word is not None
    return datetime.fromisoformat(word.removeprefix("@at ")).timestamp()
