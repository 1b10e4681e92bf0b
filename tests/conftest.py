"""What most tests share: both transports, one broker and one worker of each engine for the whole run."""

from __future__ import annotations

import os
import tempfile
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from npufleet import AsyncFleet, _engine
from npufleet.transport import ConnectOptions
from tests.integration.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# What a developer has set for a fleet of their own must not reach the programs under test, nor traces their home.
for field in fields(ConnectOptions):
    os.environ.pop(f"NPUFLEET_{field.name.upper()}", None)
for name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[name]
_traces = tempfile.TemporaryDirectory(prefix="npufleet-test-traces-")
os.environ["NPUFLEET_TRACE_DIR"] = _traces.name


def native_missing() -> str | None:
    """Why the compiled core cannot be tested here, or None."""
    return None if _engine.native_or_none() else _engine.reason()


@pytest.fixture(params=["native", "pure"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each way of speaking to the broker."""
    if request.param == "native" and (why := native_missing()):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A nats-server with JetStream; tests that stop theirs start their own."""
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def python_worker(broker: Broker) -> Iterator[WorkerProcess]:
    """A Python worker that serves the call and the fallback subjects."""
    with WorkerProcess(broker.url, "--primary") as process:
        yield process.ready()


@pytest.fixture
async def fleet(broker: Broker, python_worker: WorkerProcess, transport: str) -> AsyncIterator[AsyncFleet]:
    """A fleet of one Python worker, over each transport."""
    async with AsyncFleet.connect(broker.url, transport=transport) as connected:
        yield connected
