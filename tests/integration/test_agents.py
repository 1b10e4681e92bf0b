"""Agents: what happens on subjects becomes operations, and they ask each other for things by name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from npufleet import (
    Agent,
    DeadlineExceededError,
    InternalError,
    InvalidParameterError,
    InvalidShapeError,
    Step,
    UnavailableError,
    UnknownOperationError,
)
from npufleet.agents import invoke
from npufleet.cli import exit_codes
from npufleet.cli.app import app
from npufleet.wire import frame
from tests.support.jobs_stand import connected, jobs_broker, taking
from tests.support.tracing import traced_process
from tests.support.waiting import wait_until
from tests.support.worker_stand import PATIENCE, SDK, client, kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.aio.msg import Msg

    from npufleet.agents import Event
    from tests.support.worker_stand import Broker

X = np.arange(16.0)
SCHEMAS = Path(__file__).with_name("schemas")


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with jobs_broker() as running:
        yield running


@pytest.fixture(scope="module")
def served(broker: Broker) -> Iterator[Broker]:
    with taking(broker.url, "--primary"):
        yield broker


def doubler(name: str = "doubler") -> Agent:
    agent = Agent(name, version="1.2.3", description="doubles")

    @agent.action("double")
    async def double(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"y": arguments["x"] * 2, "times": arguments.get("times", 1), "none": None}

    @agent.action("wait")
    async def wait(arguments: dict[str, Any]) -> None:
        await asyncio.sleep(arguments["seconds"])

    @agent.action("wrong")
    async def wrong(arguments: dict[str, Any]) -> Any:
        if "what" in arguments:
            return arguments["what"]
        return 1 / 0

    return agent


async def answer_on(plain: Any, subject: str) -> asyncio.Queue[Msg]:
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    await plain.subscribe(subject, cb=arrived.put)
    await plain.flush()
    return arrived


async def test_agents_ask_each_other_by_name(broker: Broker) -> None:
    asking = Agent("asking")
    async with connected(broker) as one, connected(broker) as two:
        async with doubler().serve(one), asking.serve(two):
            given = await asking.invoke("doubler", "double", {"x": X, "times": 2})
            assert np.array_equal(given["y"], 2 * X)
            assert (given["times"], given["none"]) == (2, None)
            with pytest.raises(InternalError, match="ZeroDivisionError"):
                await invoke(two, "doubler", "wrong")
            with pytest.raises(InvalidParameterError, match="returned is 3; allowed: a mapping"):
                await invoke(two, "doubler", "wrong", {"what": 3})
            with pytest.raises(UnknownOperationError, match="allowed: double, wait, wrong"):
                await invoke(two, "doubler", "triple")
            with pytest.raises(DeadlineExceededError):
                await invoke(two, "doubler", "wait", {"seconds": 30.0}, timeout=0.2)
        with pytest.raises(UnavailableError, match="no agent 'doubler'"):
            await invoke(two, "doubler", "double", {"x": X})
        with pytest.raises(UnavailableError, match="does not serve"):
            await asking.invoke("doubler", "double")


async def test_an_event_becomes_an_operation_whose_result_is_delivered(served: Broker) -> None:
    agent = Agent("vibration")

    @agent.on("sensor.*.samples", deliver_to="spectra")
    async def spectrum(event: Event) -> Step:
        return Step("fft", event.tensors())

    @agent.on("durable.>", deliver_to="spectra", durable=True)
    async def durably(event: Event) -> Step:
        return Step("fft", event.tensors(), norm="ortho")

    @agent.on("plain")
    async def plainly(event: Event) -> dict[str, Any]:
        found = await agent.fleet.fft(event.values()["x"])
        return {"y": found, "subject": event.subject}

    async with connected(served) as fleet, client(served.url) as plain:
        arrived = await answer_on(plain, "spectra")
        async with agent.serve(fleet):
            await plain.publish("sensor.7.samples", frame.encode({"x": X}))
            message = await asyncio.wait_for(arrived.get(), PATIENCE)
            assert np.allclose(frame.decode(message.data)[0]["y"], np.fft.rfft(X))
            assert message.headers["Npu-Engine"] == "python"
            for _ in range(2):
                await plain.publish("durable.a.b", frame.encode({"x": X}), headers={"Nats-Msg-Id": "the first"})
            two = [await asyncio.wait_for(arrived.get(), PATIENCE) for _ in range(2)]
            assert np.allclose(frame.decode(two[0].data)[0]["y"], np.fft.rfft(X, norm="ortho"))
            assert len({each.headers["Npu-Job-Id"] for each in two}) == 1, "an event that comes twice is one job"
            given = await plain.request("plain", json.dumps({"x": [1.0, 2.0]}).encode(), timeout=PATIENCE)
            assert frame.decode(given.data)[1] == {"subject": "plain"}
            await plain.publish("sensor.7.samples", frame.encode({"z": X}))
            refused = await asyncio.wait_for(arrived.get(), PATIENCE)
            assert kind(refused) == InvalidShapeError.kind
            await plain.publish("sensor.7.samples", b"junk")
            assert kind(await asyncio.wait_for(arrived.get(), PATIENCE)) == "invalid_frame"


async def test_any_tool_of_the_services_protocol_sees_an_agent(broker: Broker) -> None:
    async with connected(broker) as fleet, client(broker.url) as plain, doubler("HARDWARE-1").serve(fleet):
        for verb in ("PING", "INFO", "STATS"):
            answer = json.loads((await plain.request(f"$SRV.{verb}.HARDWARE-1", timeout=PATIENCE)).data)
            schema = json.loads((SCHEMAS / f"{verb.lower()}_response.json").read_text())
            jsonschema.validate(answer, schema, format_checker=jsonschema.FormatChecker())
        subjects = {each["name"]: each["subject"] for each in answer["endpoints"]}
        asked = await plain.request(subjects["double"], b'{"x": 4}', timeout=PATIENCE)
        assert json.loads(asked.data) == {"y": 8, "times": 1, "none": None}, "JSON is answered in JSON"
        assert kind(await plain.request(subjects["wrong"], b"", timeout=PATIENCE)) == "internal"
        assert kind(await plain.request(subjects["double"], b"\xff", timeout=PATIENCE)) == "invalid_frame"
        answer = json.loads((await plain.request("$SRV.STATS.HARDWARE-1", timeout=PATIENCE)).data)
        counted = {each["name"]: (each["num_requests"], each["num_errors"]) for each in answer["endpoints"]}
        assert counted == {"double": (2, 1), "wait": (0, 0), "wrong": (1, 1)}


async def test_two_of_a_name_share_the_work_and_each_finishes_what_it_has(broker: Broker) -> None:
    async with connected(broker) as one, connected(broker) as two:
        async with doubler("shared").serve(two):
            async with doubler("shared").serve(one):
                asked = [asyncio.ensure_future(invoke(two, "shared", "wait", {"seconds": 0.1})) for _ in range(20)]
                await asyncio.sleep(0)
            await asyncio.gather(*asked)
        late = doubler("late")
        async with late.serve(one, drain_timeout=0.1):
            hanging = asyncio.ensure_future(invoke(two, "late", "wait", {"seconds": 60.0}, timeout=PATIENCE))
            async with client(broker.url) as plain:

                async def begun() -> bool:
                    answer = json.loads((await plain.request("$SRV.STATS.late", timeout=PATIENCE)).data)
                    return any(each["num_requests"] for each in answer["endpoints"])

                while not await begun():
                    pass
        with pytest.raises(UnavailableError, match="the agent stopped"):
            await hanging


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Agent("no spaces"), "agent is 'no spaces'"),
        (lambda: Agent("a", version="one"), "version is 'one'"),
        (lambda: Agent("a", concurrency=0), "concurrency is 0"),
        (lambda: Agent("a").on("a..b"), "subject is 'a..b'"),
        (lambda: Agent("a").on("a.>.b"), "subject is"),
        (lambda: Agent("a").on("a", deliver_to="a.*"), "deliver_to is"),
        (lambda: Agent("a").on("a", queue="a b"), "queue is"),
        (lambda: Agent("a").action("a.b"), "action is 'a.b'"),
        (lambda: doubler().action("double"), "there already"),
    ],
)
def test_names_are_checked(make: Any, text: str) -> None:
    with pytest.raises(InvalidParameterError, match=text):
        make()


async def test_the_trace_goes_on_across_hops(served: Broker) -> None:
    asking = Agent("asking")

    @asking.action("ask")
    async def ask(arguments: dict[str, Any]) -> dict[str, Any]:
        return await asking.invoke("doubler", "double", arguments)

    with traced_process() as receiver:
        async with connected(served) as fleet, doubler().serve(fleet), asking.serve(fleet):
            await invoke(fleet, "asking", "ask", {"x": X})
        names = ("invoke asking.ask", "process ask", "invoke doubler.double", "process double")
        spans = receiver.wait(lambda spans: {span.name for span in spans} >= set(names))
    chain = [next(span for span in spans if span.name == name) for name in names]
    assert len({span.trace_id for span in chain}) == 1
    assert [span.parent for span in chain[1:]] == [span.id for span in chain[:-1]]


def test_a_program_of_its_own(broker: Broker, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        from npufleet import Agent
        agent = Agent("program")

        @agent.action("hello")
        async def hello(arguments):
            return {"hello": arguments["name"]}

        agent.run()
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(SDK), "NPUFLEET_URL": broker.url}
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen([sys.executable, str(program)], env=environment))
        stack.callback(process.kill)

        async def ask() -> dict[str, Any]:
            async with connected(broker) as fleet:
                return await invoke(fleet, "program", "hello", {"name": "you"})

        def asked() -> dict[str, Any] | None:
            try:
                return asyncio.run(ask())
            except UnavailableError:
                return None

        assert wait_until(asked, "the agent") == {"hello": "you"}
        run = lambda *words: CliRunner().invoke(app, [*words, "--url", broker.url])  # noqa: E731
        listed = json.loads(run("agents", "list", "--json").stdout)["agents"]
        assert [(each["name"], each["actions"]) for each in listed] == [("program", ["hello"])]
        assert run("agents", "list").stdout.startswith("program 0.1.0 hello")
        assert json.loads(run("agents", "invoke", "program", "hello", "-p", "name=me").stdout) == {"hello": "me"}
        assert run("agents", "invoke", "nobody", "hello").exit_code == exit_codes.UNAVAILABLE
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
