"""Traces without a collector: local files of every process, read back as one tree."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from npufleet import AsyncFleet
from npufleet.telemetry import sampling, setup, tree
from tests.support.waiting import wait_until
from tests.support.worker_stand import PATIENCE, SDK, Broker, worker

WORKER_SPANS = {"receive", "payload.fetch", "batch", "execute", "reply"}

PROGRAM = """
import asyncio, sys
import numpy as np
from npufleet import AsyncFleet

async def main():
    async with AsyncFleet.connect(sys.argv[1]) as fleet:
        print((await fleet.call("fft", np.ones(8))).trace_id)

asyncio.run(main())
"""


async def test_a_trace_is_read_back_from_the_files_of_both_processes(tmp_path, monkeypatch):
    folder = tmp_path / "traces"
    settings = {"NPUFLEET_TRACE_DIR": str(folder), "OTEL_BSP_SCHEDULE_DELAY": "50"}
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in {**settings, "OTEL_TRACES_SAMPLER": "always_on"}.items():
        monkeypatch.setenv(name, value)
    setup.shutdown()  # a sampled call of an earlier test has opened the exporter of its own environment
    sampling.reload()
    try:
        with Broker() as broker, worker(broker.url, OTEL_TRACES_EXPORTER="file", **settings):
            async with AsyncFleet.connect(broker.url) as sdk:
                await sdk.call("fft", np.ones(8))
                # The second of its kind goes the short way.
                result = await sdk.call("fft", np.ones(8))
            setup.flush()

            def whole():
                found = tree.find(result.trace_id, folder)
                return (
                    found if found and {s.name for s in found.spans} >= WORKER_SPANS | {"call fft", "result"} else None
                )

            found = wait_until(whole, "the trace")
    finally:
        setup.shutdown()
        monkeypatch.undo()
        sampling.reload()
    assert tree.last(folder) == found
    (root,) = found.children(None)
    assert root.name == "call fft"
    assert {span.name for span in found.children(root)} == WORKER_SPANS | {"result"}
    files = sorted(folder.iterdir())
    assert sorted(file.name.rpartition("-")[0] for file in files) == ["npufleet-sdk", "npufleet-worker-python"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    rows = found.to_dicts()
    assert {row["parent"] for row in rows} == {None, "call fft"}
    assert all(row["microseconds"] > 0 for row in rows)


def test_a_program_that_ends_leaves_its_spans(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {
        "PYTHONPATH": str(SDK),
        "NPUFLEET_TRACE_DIR": str(tmp_path),
        "OTEL_TRACES_SAMPLER": "always_on",
        # Only the flush at exit can have written them.
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
    }
    with Broker() as broker, worker(broker.url):
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, broker.url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    found = tree.find(ended.stdout.strip(), tmp_path)
    assert found is not None
    assert {span.name for span in found.spans} == {"call fft", "result"}


def test_importing_the_package_imports_no_telemetry():
    program = "import sys, npufleet; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SDK)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert ended.stdout.strip() == "[]"
