"""Chains and groups: each step follows the one before, whoever has died meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import (
    CallCancelledError,
    DeadlineExceededError,
    Fleet,
    InternalError,
    InvalidParameterError,
    InvalidShapeError,
    Step,
)
from npufleet.wire import frame
from tests.support.jobs_stand import connected, dead_letter, jobs_broker, messages, no_jobs, taking
from tests.support.tracing import traced_process
from tests.support.waiting import until
from tests.support.worker_stand import SDK, client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npufleet import Flow
    from tests.support.worker_stand import Broker

X = np.arange(32.0)
POWER = np.fft.irfft(np.fft.rfft(X))

SUBMITTER = """
import os, sys
import numpy as np
from npufleet import Fleet, Step
fleet = Fleet.connect(sys.argv[1])
echo = Step("echo", {"x": np.arange(32.0)}, delay=0.3)
print(fleet.chain(echo, Step("fft"), Step("ifft", input_onesided=True)).id, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


@pytest.fixture(scope="module")
def served(broker: Broker, worker_engine: str) -> Iterator[Broker]:
    """One worker does the steps and sees to what follows; none of the other engine is there."""
    with taking(broker.url, "--executors", "2", engine=worker_engine):
        yield broker


async def flow_over(broker: Broker) -> None:
    async with client(broker.url) as plain:

        async def empty() -> bool:
            return await messages(plain, "FLOWS") == 0

        await until(empty, "an empty stream of plans")


async def test_each_step_takes_what_the_one_before_gave(served: Broker, worker_engine: str) -> None:
    async with connected(served) as fleet:
        chain = await fleet.chain(Step("fft", X), Step("ifft", input_onesided=True), Step("filter", cutoff=0.5))
        result = await chain.result()
        expected = (await (await fleet.submit("filter", POWER, cutoff=0.5)).result())["y"]
        assert np.allclose(result["y"], expected)
        assert result.engine == worker_engine
        status = await chain.status()
        assert (status.state, status.operation, status.lane) == ("succeeded", "chain", "normal")
        second = await chain.step(2).status()
        assert (second.state, second.operation) == ("succeeded", "ifft")
        assert [len(each["y"]) for each in await fleet.flow(chain.id).results()] == [32], "found by its id"
    await flow_over(served)


async def test_a_group_gives_all_its_results_and_a_callback_takes_them(served: Broker) -> None:
    rows = [X, X + 1, X + 2]
    async with connected(served) as fleet:
        alone = await fleet.group([Step("fft", row) for row in rows])
        found = await alone.results()
        assert all(np.allclose(one.array, np.fft.rfft(row)) for one, row in zip(found, rows, strict=True))
        with pytest.raises(InvalidShapeError, match="group of 3"):
            await alone.result()
        stacked = await fleet.group([Step("fft", row) for row in rows], Step("ifft", input_onesided=True))
        assert np.allclose((await stacked.result()).array, rows)
        picked = await fleet.group(
            [Step("echo", {"x": X}), Step("fft", X)],
            Step("adaptive", {"w0": np.ones(4)}, inputs={"x": "1.x", "d": "1.x"}, order=4, mu=0.0),
        )
        assert (await picked.result())["w"].shape[-1] == 4


async def test_a_chain_may_hold_groups(served: Broker) -> None:
    async with connected(served) as fleet:
        chain = await fleet.chain(
            Step("echo", {"x": X}),
            [Step("fft", n=8), Step("fft", n=8, norm="ortho")],
            Step("ifft", n=8, input_onesided=True),
        )
        back = (await chain.result()).array
        assert np.allclose(back[0], X[:8])
        assert np.allclose(back[1], X[:8] / np.sqrt(8))


async def test_the_submitter_may_die(served: Broker) -> None:
    asked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SUBMITTER, served.url],
        env={"PYTHONPATH": str(SDK), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert asked.returncode == -9, asked.stderr
    async with connected(served) as fleet:
        assert np.allclose((await fleet.job(asked.stdout.strip()).result()).array, X)


@pytest.fixture
def own() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


async def test_another_worker_goes_on_with_a_flow(own: Broker, worker_engine: str) -> None:
    async with connected(own) as fleet:
        with taking(own.url, engine=worker_engine) as first:
            chain = await fleet.chain(Step("echo", {"x": X}), Step("echo", delay=30.0), Step("fft"), retries=5)
            async for event in chain.step(2).events():
                if event.state == "running":
                    break
            first.process.kill()
        # The second step is done by another worker, without its delay: its first attempt was lost with the worker.
        async with client(own.url) as plain:
            result = frame.encode({"x": X})
            await plain.request(f"npu.v1.result.{chain.id}-2", result, headers={"Npu-Job-Id": f"{chain.id}-2"})
            with taking(own.url, engine=worker_engine):
                assert np.allclose((await chain.result()).array, np.fft.rfft(X))
                await no_jobs(plain)


@pytest.fixture
def patient() -> Iterator[Broker]:
    with jobs_broker(ack_wait=60.0) as running:
        yield running


async def test_a_worker_that_ends_gives_its_plans_to_another(patient: Broker, worker_engine: str) -> None:
    async with connected(patient) as fleet:
        with taking(patient.url, engine=worker_engine) as first:
            chain = await fleet.chain(Step("echo", {"x": X}, delay=0.5), Step("fft"))
            async for event in chain.events():
                if event.state == "running":
                    break
            assert await asyncio.to_thread(first.terminate) == 0
        with taking(patient.url, engine=worker_engine):
            # Sooner than the broker would take the first one for dead.
            assert np.allclose((await chain.result(timeout=20)).array, np.fft.rfft(X))


async def test_a_failing_step_ends_the_chain_and_is_named(served: Broker) -> None:
    async with connected(served) as fleet:
        chain = await fleet.chain(Step("echo", {"a": X, "b": X}), Step("fft"), Step("ifft", input_onesided=True))
        with pytest.raises(InvalidShapeError, match=r"step 2 \(fft\): .*a.*b"):
            await chain.result()
        assert (await chain.status()).state == "failed"
        assert (await chain.step(2).wait()).state == "cancelled", "it was no job that could fail"
        slow = await fleet.chain(
            Step("echo", {"x": X}), [Step("echo", delay=30.0), Step("fft", axis=5)], Step("fft", inputs={"x": "1.x"})
        )
        with pytest.raises(InvalidParameterError, match=r"step 2 \(fft, member 2 of 2\)"):
            await slow.result()
        assert (await slow.step(2, 1).wait()).state == "cancelled", "what is left is cancelled"
        async with client(served.url) as plain:
            # What only the operation could refuse was a job, whoever submitted it, and ended as one.
            await dead_letter(plain, "fft", slow.step(2, 2).id)
    await flow_over(served)


async def test_cancelling_cancels_what_is_left(served: Broker) -> None:
    async with connected(served) as fleet:
        chain = await fleet.chain(Step("echo", {"x": X}), Step("echo", delay=30.0), Step("fft"))
        async for event in chain.step(2).events():
            if event.state == "running":
                break
        assert (await chain.cancel()).state == "cancelled"
        assert (await chain.step(2).wait()).state == "cancelled"
        with pytest.raises(CallCancelledError):
            await chain.result()
    await flow_over(served)


async def test_a_deadline_holds_for_all_of_it(served: Broker) -> None:
    async with connected(served) as fleet:
        chain = await fleet.chain(Step("echo", {"x": X}), Step("echo", delay=30.0), deadline=1.0)
        with pytest.raises(DeadlineExceededError, match=r"step 2 \(echo\)"):
            await chain.result()


async def test_the_same_key_is_the_same_chain(served: Broker) -> None:
    async with connected(served) as fleet:
        chains: list[Flow] = [
            await fleet.chain(Step("fft", X), Step("ifft", input_onesided=True), idempotency_key="nightly")
            for _ in range(3)
        ]
        assert len({chain.id for chain in chains}) == 1
        assert np.allclose((await chains[2].result()).array, X)
    await flow_over(served)


async def test_large_tensors_and_progress(served: Broker) -> None:
    large = np.arange(200_000.0)
    async with connected(served) as fleet:
        chain = await fleet.chain(Step("echo", {"x": large}, delay=0.2), Step("echo"), Step("echo", delay=0.2))
        progress = [event.progress async for event in chain.events() if event.progress is not None]
        assert progress == sorted(progress)
        assert np.array_equal((await chain.result())["x"], large)


@pytest.mark.parametrize(
    ("stages", "text"),
    [
        ((), "0 stages"),
        ((Step("fft"),), "step 1 .fft.: tensor 'x' is missing"),
        ((Step("fft", X), Step("nosuch")), "step 2 .nosuch.*unknown operation"),
        ((Step("fft", X), Step("fft", norm=3)), "step 2 .fft.*norm"),
        ((Step("fft", X), Step("fft", inputs={"z": "y"})), "step 2 .fft.*unknown tensor 'z'"),
        ((Step("fft", X), [Step("fft"), Step("infer")]), "step 2 .infer, member 2|step 2 .infer"),
        (([Step("fft", X), Step("stft", X)], Step("ifft", input_onesided=True)), "step 2 .ifft.*'inputs' is missing"),
        ((Step("fft", X, inputs={"x": "y"}),), "step 1 .fft. has inputs"),
        ((Step("fft", X), []), "group of 0"),
        ((Step("fft", X), "fft"), "step 2 is 'fft'"),
    ],
)
async def test_what_cannot_work_is_refused_before_anything_runs(broker: Broker, stages: tuple[Step], text: str) -> None:
    async with connected(broker) as fleet:
        with pytest.raises((InvalidParameterError, InvalidShapeError), match=text):
            await fleet.chain(*stages)
    with pytest.raises(InvalidParameterError, match="given twice"):
        Step("fft", X, {"n": 3}, n=4)


async def test_a_plan_that_cannot_be_read_fails(served: Broker) -> None:
    async with client(served.url) as plain, connected(served) as fleet:
        for number, body in enumerate(
            (b"junk", frame.encode({}, {}), frame.encode({}, {"stages": [{"operation": 3}]}))
        ):
            said = {"Npu-Job-Id": f"junk-{number}"}
            answer = await plain.request("npu.v1.flow.normal.chain", body, headers=said)
            assert "error" not in json.loads(answer.data)
            with pytest.raises((InvalidParameterError, InternalError, Exception), match=r"frame|step 1"):
                await fleet.job(f"junk-{number}").result()
    await flow_over(served)


async def test_all_steps_are_in_one_trace(own: Broker) -> None:
    with traced_process() as receiver, taking(own.url, **receiver.environment):
        async with connected(own) as fleet:
            chain = await fleet.chain(Step("fft", X), Step("ifft"))
            await chain.result()
            spans = receiver.wait(lambda spans: sum(span.name == "execute" for span in spans) >= 2)
    submitted = next(span for span in spans if span.name == "submit chain")
    assert chain.trace_id == submitted.trace_id
    executed = [span for span in spans if span.name == "execute"]
    assert {span.trace_id for span in executed} == {submitted.trace_id}
    assert {span.parent for span in executed} == {submitted.id}


def test_without_an_event_loop(served: Broker) -> None:
    with Fleet.connect(served.url, transport="pure") as fleet:
        chain = fleet.chain(Step("fft", X), Step("ifft", input_onesided=True), lane="high")
        assert np.allclose(chain.result().array, X)
        assert chain.step(1).status().lane == "high"
        assert len(fleet.flow(fleet.group([Step("fft", X)] * 2).id).results()) == 2
