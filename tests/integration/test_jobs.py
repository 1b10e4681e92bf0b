"""Jobs from submission to result, over each kind of worker."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import (
    CallCancelledError,
    DeadlineExceededError,
    Fleet,
    InternalError,
    InvalidFrameError,
    InvalidParameterError,
    UnknownModelError,
    UnknownOperationError,
)
from npufleet.wire import job as wire
from tests.support.jobs_stand import connected, dead_letter, jobs_broker, messages, no_jobs, taking
from tests.support.tracing import traced_process
from tests.support.worker_stand import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.worker_stand import Broker, WorkerProcess

X = np.arange(8.0)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


@pytest.fixture(scope="module")
def worker(broker: Broker, worker_engine: str) -> Iterator[WorkerProcess]:
    with taking(broker.url, engine=worker_engine) as process:
        yield process


@pytest.fixture
def served(broker: Broker, worker: WorkerProcess) -> Broker:
    return broker


async def test_a_job_has_the_result_of_its_call(served: Broker, worker_engine: str) -> None:
    async with connected(served) as fleet:
        job = await fleet.submit("fft", X, {"norm": "ortho"})
        result = await job.result()
        assert np.allclose(result.array, np.fft.rfft(X, norm="ortho"))
        assert (result.engine, result.device) == (worker_engine, "CPU")
        assert result.timing is not None
        assert (await job.result()).array.shape == (5,), "the result stays"


async def test_long_work_says_how_far_it_is(served: Broker) -> None:
    slow = {"operation": "echo", "params": {"delay": 1.6}}
    async with connected(served) as fleet:
        job = await fleet.submit("pipeline", {"x": X}, {"steps": [slow]})
        progress = [event.progress async for event in job.events() if event.progress is not None]
        assert progress == sorted(progress)
        assert 1 <= len(progress) <= 10
        assert 0.0 < progress[0] < progress[-1] < 1.0 or len(progress) == 1


async def test_another_process_finds_the_job_by_its_id(served: Broker) -> None:
    async with connected(served) as one, connected(served) as two:
        job = await one.submit("fft", X)
        assert np.allclose((await two.job(job.id).result()).array, np.fft.rfft(X))
        status = await two.job(job.id).status()
    assert (status.state, status.operation, status.lane, status.attempt) == ("succeeded", "fft", "normal", 1)
    assert status.submitted is not None
    assert status.finished is not None
    assert time.time() - 60 < status.submitted <= status.finished <= time.time()


def test_blocking_twins(served: Broker) -> None:
    with Fleet.connect(served.url) as fleet:
        job = fleet.submit("fft", X)
        assert np.allclose(job.result().array, np.fft.rfft(X))
        assert [event.state for event in job.events()] == ["succeeded"]
        assert fleet.job(job.id).status().over
        assert job.cancel().state == "succeeded", "what is over stays as it is"
        many = fleet.submit_many("fft", [X, X + 1])
        assert len({each.id for each in many}) == 2
        assert all(each.result().array.shape == (5,) for each in many)
        slow = fleet.submit("echo", {"x": X}, {"delay": 30.0})
        assert slow.cancel().state == "cancelled"


async def test_events_tell_how_a_job_goes(served: Broker, worker_engine: str) -> None:
    async with connected(served) as fleet:
        job = await fleet.submit("echo", {"x": X}, {"delay": 0.3})
        seen = [event async for event in job.events()]
    states = [event.state for event in seen]
    assert states[-2:] == ["running", "succeeded"], states
    assert seen[-1].engine == worker_engine


async def test_many_jobs_in_atomic_batches(served: Broker) -> None:
    async with connected(served) as fleet, client(served.url) as plain:
        jobs = await fleet.submit_many("fft", [np.full(4, float(n)) for n in range(1500)])
        results = await asyncio.gather(*(job.result() for job in jobs))
        assert [result.array[0].real for result in results] == [4.0 * n for n in range(1500)]
        await no_jobs(plain)
        assert await fleet.submit_many("fft", []) == []


async def test_ids_begin_with_the_time_and_are_never_the_same(served: Broker) -> None:
    async with connected(served) as fleet:
        began = time.time_ns() // 1_000_000
        jobs = [await fleet.submit("echo", {"x": X}) for _ in range(3)]  # the later ones by the compiled core
        jobs += await fleet.submit_many("echo", [{"x": X}] * 100)
        ended = time.time_ns() // 1_000_000
        await fleet.gather(jobs)
    assert all(began <= int(job.id[:12], 16) <= ended for job in jobs)
    assert len({job.id[12:] for job in jobs}) == len(jobs)


async def test_jobs_submitted_together_may_be_unlike(served: Broker) -> None:
    many = [X, X + 1, X[:4], [1.0, 2.0], X.astype("f4"), X, np.zeros(70_000)]
    async with connected(served) as fleet:
        for some in (many[:-1], many):  # the last is too large for a message
            jobs = await fleet.submit_many("fft", some, {"n": 8}, deadline=60.0)
            for given, result in zip(some, await fleet.gather(jobs), strict=True):
                assert np.allclose(result.array, np.fft.rfft(given, 8), rtol=1e-5)


async def test_each_of_many_traced_jobs_has_its_trace(served: Broker) -> None:
    with traced_process() as receiver:
        async with connected(served) as fleet:
            jobs = [
                await fleet.submit("fft", X),
                await fleet.submit("fft", X),
                *await fleet.submit_many("fft", [X] * 3),
            ]
            spans = receiver.wait(lambda spans: sum(span.name == "submit fft" for span in spans) >= len(jobs))
            await fleet.gather(jobs)
    submitted = [span.trace_id for span in spans if span.name == "submit fft"]
    assert sorted(submitted) == sorted(str(job.trace_id) for job in jobs)
    assert len(set(submitted)) == len(jobs)


@pytest.mark.parametrize(
    ("error", "arguments", "options"),
    [
        (UnknownOperationError, ("fast_fft", X), {}),
        (InvalidParameterError, ("fft", X, {"norm": "loud"}), {}),
        (InvalidParameterError, ("fft", X), {"lane": "urgent"}),
        (InvalidParameterError, ("fft", X), {"retries": -1}),
        (InvalidParameterError, ("fft", X), {"retries": 101}),
        (InvalidParameterError, ("fft", X), {"retries": True}),
        (InvalidParameterError, ("fft", X), {"attempt_timeout": 0}),
        (InvalidParameterError, ("fft", X), {"deadline": -1.0}),
        (InvalidParameterError, ("fft", X), {"idempotency_key": ""}),
        (InvalidParameterError, ("fft", X), {"idempotency_key": "a\nb"}),
        (InvalidParameterError, ("fft", X), {"model": "mlp"}),
        (InvalidParameterError, ("infer", {"x": X}), {}),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(
    broker: Broker, error: type[Exception], arguments: tuple[object, ...], options: dict[str, object]
) -> None:
    async with connected(broker) as fleet:
        with pytest.raises(error):
            await fleet.submit(*arguments, **options)  # type: ignore[arg-type]


async def test_an_id_that_cannot_be_is_refused(broker: Broker) -> None:
    async with connected(broker) as fleet:
        with pytest.raises(InvalidParameterError):
            fleet.job("a.b")
        with pytest.raises(DeadlineExceededError):
            await fleet.job("nobody-submitted-this").result(timeout=0.1)


async def test_a_deadline_ends_a_running_job(served: Broker) -> None:
    async with connected(served) as fleet:
        job = await fleet.submit("echo", {"x": X}, {"delay": 30.0}, deadline=0.5)
        with pytest.raises(DeadlineExceededError, match="deadline"):
            await job.result()
        assert (await job.status()).attempt == 1


async def test_an_attempt_that_takes_too_long_is_ended(served: Broker) -> None:
    async with connected(served) as fleet, client(served.url) as plain:
        job = await fleet.submit("echo", {"x": X}, {"delay": 30.0}, attempt_timeout=0.2, retries=1)
        with pytest.raises(InternalError, match=r"allowed: 0\.2 s"):
            await job.result()
        assert (await job.status()).attempt == 2
        letter = await dead_letter(plain, "echo", job.id)
        history = [event["state"] for event in json.loads(letter.headers["Npu-History"])]
        assert history == ["running", "retrying", "running", "failed"]


@pytest.mark.parametrize("worker_engine", ["python"], indirect=True)  # a Rust worker hands it over
async def test_a_failing_job_is_retried_and_becomes_a_dead_letter(served: Broker) -> None:
    async with connected(served) as fleet, client(served.url) as plain:
        before = await messages(plain, "DEAD")
        job = await fleet.submit("infer", {"x": X}, model="nosuch", retries=2, idempotency_key="a failing one")
        with pytest.raises(UnknownModelError):
            await job.result()
        letter = await dead_letter(plain, "infer", job.id)
        headers = letter.headers
        assert headers["Npu-Error-Kind"] == "unknown_model"
        assert headers["Npu-Attempt"] == "3"
        assert headers["Npu-Operation"] == "normal.infer.nosuch"
        assert headers["Npu-Idempotency-Key"] == "a failing one"
        assert len(letter.data) > 64, "the frame is kept"
        history = json.loads(headers["Npu-History"])
        assert [event["state"] for event in history] == ["running", "retrying"] * 2 + ["running", "failed"]
        # Exponential: half a second, then a whole one; never sooner.
        waits = [(history[n + 1]["at"] - history[n]["at"]) / 1e6 for n in (1, 3)]
        assert waits[0] >= 0.5
        assert waits[1] >= 1.0
        await no_jobs(plain)
        assert await messages(plain, "DEAD") == before + 1


async def test_a_job_that_no_engine_can_read_becomes_a_dead_letter_at_once(served: Broker) -> None:
    async with connected(served) as fleet, client(served.url) as plain:
        headers = {"Npu-Job-Id": "garbled", "Npu-Submitted": "1"}
        await plain.request("npu.v1.job.normal.fft", b"no frame", headers=headers)
        with pytest.raises(InvalidFrameError):
            await fleet.job("garbled").result()
        assert (await fleet.job("garbled").status()).attempt == 1
        await dead_letter(plain, "fft", "garbled")


async def test_a_message_that_is_no_job_becomes_a_dead_letter(served: Broker) -> None:
    async with client(served.url) as plain:
        answer = json.loads((await plain.request("npu.v1.job.normal.fft.a.b", b"what")).data)
        letter = await dead_letter(plain, "unreadable", f"unreadable-{answer['seq']}")
        assert letter.headers["Npu-Error-Kind"] == "invalid_parameter"
        assert letter.data == b"what"
        await no_jobs(plain)


async def test_cancelling_a_running_job_stops_it(served: Broker) -> None:
    async with connected(served) as fleet, client(served.url) as plain:
        job = await fleet.submit("echo", {"x": X}, {"delay": 60.0})
        async for event in job.events():
            if event.state == "running":
                break
        assert (await job.cancel()).state == "cancelled"
        with pytest.raises(CallCancelledError):
            await job.result()
        # Taken off the stream, which happens only when its executor has let go of it.
        await no_jobs(plain, seconds=5)
        assert (await job.cancel()).state == "cancelled", "asking again changes nothing"


async def test_the_same_key_is_the_same_job(served: Broker) -> None:
    async with connected(served) as fleet, client(served.url) as plain:
        one = await fleet.submit("fft", X, idempotency_key="nightly")
        two = await fleet.submit("fft", X + 1, idempotency_key="nightly")
        other = await fleet.submit("fft", X, idempotency_key="weekly")
        elsewhere = await fleet.submit("echo", {"x": X}, idempotency_key="nightly")
        assert one.id == two.id == wire.id_of_key("fft", None, "nightly")
        assert len({one.id, other.id, elsewhere.id}) == 3
        assert np.allclose((await two.result()).array, np.fft.rfft(X)), "the first submission counts"
        many = await fleet.submit_many("fft", [X, X], idempotency_key="batch")
        again = await fleet.submit_many("fft", [X, X, X], idempotency_key="batch")
        assert [job.id for job in many] == [job.id for job in again[:2]]
        await asyncio.gather(*(job.result() for job in again))
        await no_jobs(plain)
