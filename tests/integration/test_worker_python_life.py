"""A Python worker from its start to its end: waiting for the broker, losing it, draining, refusing to start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import nats.errors
import numpy as np
import pytest

from npufleet.wire import frame
from tests.support.worker_stand import (
    PATIENCE,
    SDK,
    Broker,
    WorkerProcess,
    arrays,
    call,
    client,
    kind,
    subject,
    wait_until,
    worker,
)

ONE = frame.encode({"x": np.ones(4)})


async def test_a_worker_waits_for_its_broker():
    with Broker() as broker:
        broker.kill()
        with WorkerProcess(broker.url) as waiting:
            wait_until(lambda: "cannot connect" in waiting.log(), "the first refusal")
            broker.start()
            waiting.ready()
            async with client(broker.url) as plain:
                assert kind(await call(plain, "echo", ONE)) is None


async def test_a_worker_that_never_found_its_broker_can_be_stopped():
    with Broker() as broker:
        broker.kill()
        with WorkerProcess(broker.url) as waiting:
            wait_until(lambda: "cannot connect" in waiting.log(), "the first refusal")
            assert waiting.terminate() == 0


async def test_a_worker_finds_its_broker_again():
    with Broker() as broker, worker(broker.url) as running:
        broker.kill()
        running.wait("broker", state="disconnected")
        seen = len(running.events)
        broker.start()
        running.wait("broker", state="connected", after=seen)
        async with client(broker.url) as plain:
            assert kind(await call(plain, "echo", ONE)) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_drain_loses_nothing(number):
    with Broker() as broker, worker(broker.url, "--executors", "2") as running:
        async with client(broker.url) as plain:
            inbox = plain.new_inbox()
            answers = await plain.subscribe(inbox)
            sent = 200
            for tag in range(sent):
                payload = frame.encode({"tag": np.array(tag)}, {"delay": 0.01})
                await plain.publish(subject("echo"), payload, reply=inbox)
            await plain.flush()
            # The server has handed out every one of them by now; most still wait.
            code = await asyncio.to_thread(running.terminate, number)
            tags = {int(arrays(await answers.next_msg(timeout=PATIENCE))["tag"]) for _ in range(sent)}
            assert tags == set(range(sent))
            assert code == 0
            assert [event["event"] for event in running.events[-2:]] == ["draining", "stopped"]
            assert running.events[-1]["served"] == sent
            with pytest.raises(nats.errors.NoRespondersError):
                await call(plain, "echo", ONE)


async def test_what_does_not_end_in_time_is_answered_unavailable():
    with Broker() as broker, worker(broker.url, "--drain-timeout", "0.2") as running:
        async with client(broker.url) as plain:
            inbox = plain.new_inbox()
            answers = await plain.subscribe(inbox)
            await plain.publish(subject("echo"), frame.encode({"x": np.ones(1)}, {"delay": 20.0}), reply=inbox)
            await plain.flush()
            code = await asyncio.to_thread(running.terminate)
            assert kind(await answers.next_msg(timeout=PATIENCE)) == "unavailable"
            assert code == 0


async def test_a_primary_worker_serves_the_call_subjects_too():
    with Broker() as broker, worker(broker.url, "--primary"):
        async with client(broker.url) as plain:
            for route in ("call", "fallback"):
                assert (await call(plain, "echo", ONE, route=route)).headers["Npu-Engine"] == "python"


async def test_events_are_readable_without_json():
    with Broker() as broker:
        command = [sys.executable, "-m", "npufleet.worker", "--url", broker.url]
        environment = {**os.environ, "PYTHONPATH": str(SDK), "OTEL_TRACES_EXPORTER": "none"}
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        try:
            assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"worker broker state=connected\n"
            ready = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
            assert ready.startswith("worker ready id=")
            assert "CPU" in ready
        finally:
            process.terminate()
            rest, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert rest.decode().splitlines()[-2:] == ["worker draining", "worker stopped served=0"]


IMPORTS_WITHOUT_END = """
import runpy, threading
from npufleet.worker import batch
batch.warm_up = threading.Event().wait
runpy.run_module("npufleet.worker", run_name="__main__")
"""


def test_a_worker_that_still_imports_ends_when_it_is_told_to():
    with Broker() as broker, WorkerProcess(broker.url, program=("-c", IMPORTS_WITHOUT_END)) as process:
        process.ready()
        assert process.terminate() == 0
        assert process.events[-1]["event"] == "stopped"


WITHOUT_EXTENSION = """
import sys
sys.modules["npufleet._native"] = None
from npufleet.worker.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


async def test_it_runs_without_the_compiled_extension():
    with Broker() as broker:
        command = [sys.executable, "-c", WITHOUT_EXTENSION, "--json", "--url", broker.url]
        environment = {**os.environ, "PYTHONPATH": str(SDK), "OTEL_TRACES_EXPORTER": "none"}
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        try:
            while b'"ready"' not in await asyncio.wait_for(process.stdout.readline(), PATIENCE):
                pass
            async with client(broker.url) as plain:
                assert kind(await call(plain, "echo", ONE)) is None
        finally:
            process.terminate()
            await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0


def test_a_rust_worker_without_the_extension_says_so_in_one_line():
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTENSION, "--engine", "rust"],
        env={**os.environ, "PYTHONPATH": str(SDK)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "no compiled extension" in ended.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--url", "http://example.org"], "nats://host"),
        (["--credentials", "/does/not/exist"], "no such file"),
        (["--devices", "TPU"], "NPU, GPU, CPU"),
        (["--engine", "rust", "--primary"], "--primary"),
        (["--queue-limit", "0"], "below 1"),
    ],
)
def test_a_wrong_option_is_refused_without_a_traceback(options, words):
    ended = subprocess.run(
        [sys.executable, "-m", "npufleet.worker", *options],
        env={**os.environ, "PYTHONPATH": str(SDK)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode in (1, 2)
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
