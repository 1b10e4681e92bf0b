"""Real workers and the real SDK under durable.conf: the permissions leave nothing out that they need."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet.agents import Agent, Event, invoke
from npufleet.broker import workers
from npufleet.errors import UnavailableError, UnknownModelError
from npufleet.fleet import AsyncFleet
from npufleet.jobs.flow import Step
from npufleet.wire import frame
from npufleet.wire.contract import LANES
from tests.support.broker_stand import RELU, Durable, durable, source_environment
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def worker(broker: Durable, engine: str) -> AsyncIterator[list[str]]:
    """Run a worker as the user `worker` and give what it logs."""
    environment = source_environment(
        NPUFLEET_URL=broker.url,
        NPUFLEET_USER="worker",
        NPUFLEET_PASSWORD=broker.passwords["worker"],
        NPUFLEET_TLS_CA=str(broker.authority),
    )
    pipes: dict[str, Any] = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    command = workers.command(engine, {}, 5.0, primary=False)
    process = await asyncio.create_subprocess_exec(*command, env=environment, **pipes)
    log: list[str] = []
    assert process.stdout is not None
    reading = asyncio.create_task(collect(process.stderr, log))
    try:
        async with asyncio.timeout(40):
            while True:
                line = await process.stdout.readline()
                assert line, log
                if json.loads(line)["event"] == "ready":
                    break
        rest = asyncio.create_task(collect(process.stdout, []))
        yield log
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)
        await reading
    await rest
    assert process.returncode == 0, log


async def collect(stream: asyncio.StreamReader | None, lines: list[str]) -> None:
    assert stream is not None
    async for line in stream:
        lines.append(line.decode())  # noqa: PERF401  read while it grows


def fleet(broker: Durable, user: str, transport: str | None = "pure") -> Any:
    return AsyncFleet.connect(
        broker.url, user=user, password=broker.passwords[user], tls_ca=broker.authority, transport=transport
    )


@pytest.mark.parametrize("engine", ["rust", "python"])
async def test_a_fleet_with_roles_does_real_work(engine: str, tmp_path: Path) -> None:
    if engine == "rust" and (missing := workers.why_no_rust()) is not None:
        pytest.skip(f"no Rust worker here: {missing}")
    (tmp_path / "relu.xml").write_text(RELU)
    (tmp_path / "relu.bin").write_bytes(b"")
    async with durable(tmp_path) as broker, worker(broker, engine) as log:
        async with fleet(broker, "operator") as operator:
            added = await operator.models.add("relu", tmp_path / "relu.xml")
            assert [(each.engine, each.state) for each in added.workers] == [(engine, "ready")], log
            assert (await operator.health())["components"][f"{engine}_workers"]["count"] == 1
        async with fleet(broker, "client1") as one, fleet(broker, "client2", transport=None) as two:
            for client in (one, two):
                result = await client.call("fft", np.arange(8.0))
                assert np.allclose(result.array, np.fft.rfft(np.arange(8.0)))
                assert result.engine == engine
                outputs = await client.infer("relu", {"x": np.array([[-1, 0, 1, 2]], np.float32)})
                assert outputs["y"].tolist() == [[0, 0, 1, 2]]
            slow = asyncio.create_task(one.call("echo", {"x": np.zeros(1)}, {"delay": 5.0}))
            await two.call("fft", np.arange(8.0))
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
        async with fleet(broker, "operator") as operator:
            await operator.models.remove("relu")
            assert await operator.models.list() == []
    refusals = [line for line in log if "ermissions" in line]
    assert refusals == []


async def test_agents_with_roles(tmp_path: Path) -> None:
    agent = Agent("spectra")

    @agent.on("npu.v1.topic.samples", deliver_to="npu.v1.topic.spectra", durable=True)
    async def spectrum(event: Event) -> Step:
        return Step("fft", event.tensors())

    @agent.action("spectrum")
    async def asked(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"y": await agent.fleet.fft(arguments["x"])}

    x = np.arange(8.0)
    async with durable(tmp_path) as broker:
        async with fleet(broker, "operator") as operator:
            await operator.jobs.create_streams()
        async with worker(broker, "python") as log, fleet(broker, "agent") as one, fleet(broker, "client1") as two:
            async with agent.serve(one):
                assert np.allclose((await invoke(two, "spectra", "spectrum", {"x": x}))["y"], np.fft.rfft(x))
                plain = await broker.connect("agent")
                arrived: asyncio.Queue[Any] = asyncio.Queue()
                await plain.subscribe("npu.v1.topic.spectra", cb=arrived.put)
                await plain.flush()
                await plain.publish("npu.v1.topic.samples", frame.encode({"x": x}))
                message = await asyncio.wait_for(arrived.get(), 10)
                assert np.allclose(frame.decode(message.data)[0]["y"], np.fft.rfft(x))
                await plain.close()
            with pytest.raises(UnavailableError, match="no agent"):
                await invoke(two, "spectra", "spectrum", {"x": x})
    assert [line for line in log if "ermissions" in line] == []
    assert not any(broker.errors.values())


async def test_jobs_with_roles(tmp_path: Path) -> None:
    async with durable(tmp_path) as broker:
        async with fleet(broker, "operator") as operator:
            await operator.jobs.create_streams()
            await operator.jobs.create_streams()  # what is there is left alone
        async with worker(broker, "python") as log, fleet(broker, "client1") as one, fleet(broker, "client2") as two:
            job = await one.submit("fft", np.arange(8.0))
            assert np.allclose((await job.result()).array, np.fft.rfft(np.arange(8.0)))
            assert (await two.job(job.id).status()).state == "succeeded"
            many = await two.submit_many("fft", [np.arange(8.0)] * 3)
            await asyncio.gather(*(each.result() for each in many))
            slow = await one.submit("echo", {"x": np.zeros(1)}, {"delay": 30.0})
            assert [event.state async for event in slow.events() if event.state == "running" and await slow.cancel()]
            large = np.arange(100_000.0)
            assert np.array_equal((await (await one.submit("echo", {"x": large})).result())["x"], large)
            chain = await one.chain(Step("echo", {"x": large}), Step("fft"), Step("ifft", input_onesided=True))
            assert np.allclose((await chain.result()).array, large)
            endless = await one.group([Step("echo", {"x": np.zeros(1)}, delay=30.0)] * 2)
            assert (await endless.cancel()).state == "cancelled"
            assert (await endless.step(1, 2).wait()).state == "cancelled"
            later = await one.submit("fft", np.arange(8.0), run_at=1.0)
            repeated = await one.submit("fft", np.arange(8.0), every="1h")
            assert (await repeated.cancel()).state == "cancelled"
            assert (await later.result()).engine == "python"
            failing = await one.submit("infer", {"x": large}, model="nosuch", retries=0)
            with pytest.raises(UnknownModelError):
                await failing.result()
            async with fleet(broker, "operator") as operator:
                await until(operator.jobs.dead.list, "the dead letter")
                assert {each.lane for each in await operator.jobs.queues()} == set(LANES)
                again = await operator.jobs.retry(failing.id)
                with pytest.raises(UnknownModelError):
                    await again.result()
                await until(operator.jobs.dead.list, "the second dead letter")
                assert await operator.jobs.purge() == 1
                assert len(await operator.jobs.list()) >= 8
    assert [line for line in log if "ermissions" in line] == []
    assert not any(broker.errors.values())
