"""Jobs whose frames are too large for a message."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import nats.errors
import numpy as np
import pytest

from npufleet import CallCancelledError, OverloadedError, PayloadLostError, UnknownModelError
from npufleet.transport import payloads
from npufleet.transport.connection import Client
from npufleet.wire import frame
from npufleet.wire.job import INLINE_BYTES, JobRequest
from npufleet.worker.jobs.outcome import Outcomes
from tests.support.jobs_stand import connected, dead_letter, jobs_broker, messages, no_jobs, state, taking, update
from tests.support.waiting import until
from tests.support.worker_stand import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.worker_stand import Broker

LARGE = np.random.default_rng(0).standard_normal(INLINE_BYTES // 4)  # twice the limit


@pytest.fixture
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def subjects(plain: object) -> set[str]:
    return {name.removeprefix("npu.v1.payload.") for name in (await state(plain, "PAYLOADS")).get("subjects", {})}  # type: ignore[arg-type]


async def test_large_frames_both_ways(broker: Broker, worker_engine: str) -> None:
    with taking(broker.url, engine=worker_engine):
        async with connected(broker) as fleet, client(broker.url) as plain:
            job = await fleet.submit("echo", {"x": LARGE})
            assert np.array_equal((await job.result())["x"], LARGE)
            await no_jobs(plain)
            # The request's frame goes with the job, the result's stays as long as the result.
            await until(lambda: _only_results(plain, job.id), "the end of the request's frame")
            assert np.array_equal((await fleet.job(job.id).result())["x"], LARGE)


async def _only_results(plain: object, job_id: str) -> bool:
    """Whether the pieces of one result are there, and nothing else."""
    found = await subjects(plain)
    return len(found) == 3 and all(name.startswith(f"{job_id}.out.") for name in found)


async def _is(plain: object, wanted: set[str]) -> bool:
    return await subjects(plain) == wanted


async def test_large_frames_of_many_jobs_and_of_a_repeated_submission(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        first = await fleet.submit("fft", LARGE, idempotency_key="large")
        again = await fleet.submit("fft", LARGE, idempotency_key="large")
        assert first.id == again.id
        many = await fleet.submit_many("fft", [LARGE, LARGE + 1])
        assert await messages(plain, "JOBS") == 3
        assert len(await subjects(plain)) == 9
        with taking(broker.url, engine=worker_engine):
            results = await asyncio.gather(*(job.result() for job in (first, *many)))
        assert np.allclose(results[2].array, np.fft.rfft(LARGE + 1))


async def test_a_payload_that_is_gone_or_changed_is_payload_lost(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        gone = await fleet.submit("fft", LARGE)
        changed = await fleet.submit("fft", LARGE)
        await payloads.remove(
            plain, "npu", str(payloads.Reference(f"{gone.id}.in", 3, 2 * payloads.PIECE + 1, "0" * 64))
        )
        subject = f"npu.v1.payload.{changed.id}.in.1"
        await plain.request("$JS.API.STREAM.PURGE.PAYLOADS", b'{"filter":"%s"}' % subject.encode())
        await plain.request(subject, bytes(payloads.PIECE))
        with taking(broker.url, engine=worker_engine):
            with pytest.raises(PayloadLostError, match="gone"):
                await gone.result()
            with pytest.raises(PayloadLostError, match="digest"):
                await changed.result()


async def test_a_dead_letter_keeps_its_payload_and_a_cancelled_job_does_not(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        failing = await fleet.submit("infer", {"x": LARGE}, model="nosuch", retries=0)
        cancelled = await fleet.submit("echo", {"x": LARGE}, {"delay": 60.0})
        await cancelled.cancel(timeout=0.1)
        with taking(broker.url):
            with pytest.raises(UnknownModelError):
                await failing.result()
            with pytest.raises(CallCancelledError):
                await cancelled.result()
            letter = await dead_letter(plain, "infer", failing.id)
            assert letter.headers["Npu-Payload"].startswith(f"npu1:{failing.id}.in:3:")
            await until(lambda: _is(plain, {f"{failing.id}.in.{piece}" for piece in range(3)}))


async def test_no_room_for_a_payload_is_no_job(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        await update(plain, "PAYLOADS", max_bytes=INLINE_BYTES)
        with pytest.raises(OverloadedError, match="PAYLOADS"):
            await fleet.submit("fft", LARGE)
        assert await messages(plain, "JOBS") == 0


async def test_a_zombies_large_result_is_removed(broker: Broker, worker_engine: str) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain:
        with taking(broker.url, engine=worker_engine) as zombie:
            job = await fleet.submit("echo", {"x": LARGE}, {"delay": 0.5})
            async for event in job.events():
                if event.state == "running":
                    break
            os.kill(zombie.process.pid, signal.SIGSTOP)
            with taking(broker.url, engine=worker_engine):
                await job.result()
                os.kill(zombie.process.pid, signal.SIGCONT)
                assert await asyncio.to_thread(zombie.terminate) == 0
                await until(lambda: _only_results(plain, job.id))
                assert np.array_equal((await job.result())["x"], LARGE)


class Deaf(Client):
    """A connection that does not hear the first answer about a result."""

    deaf = True

    async def request(self, subject: str, *arguments: Any, **options: Any) -> Any:
        answer = await super().request(subject, *arguments, **options)
        if subject.startswith("npu.v1.result.") and self.deaf:
            self.deaf = False
            raise nats.errors.TimeoutError
        return answer


async def test_a_large_result_whose_acknowledgement_was_lost_is_kept(broker: Broker) -> None:
    deaf = Deaf()
    await deaf.connect(broker.url)
    try:
        outcomes = Outcomes(deaf, "npu", "worker")
        payload = frame.encode({"x": LARGE})
        assert await outcomes.commit_frame(JobRequest("lost-answer", "echo"), 1, {}, payload)
        assert not deaf.deaf, "the answer was lost"
        async with connected(broker) as fleet:
            assert np.array_equal((await fleet.job("lost-answer").result())["x"], LARGE)
        # Somebody else's result is there: then ours goes.
        assert not await outcomes.commit_frame(JobRequest("lost-answer", "echo"), 2, {}, payload)
        assert await _only_results(deaf, "lost-answer")
    finally:
        await deaf.close()
