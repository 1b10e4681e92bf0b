"""What most tests share: both transports, one broker and one worker of each engine for the whole run."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from npufleet import AsyncFleet, _engine
from npufleet.transport import ConnectOptions
from tests.support.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# What a developer has set for a fleet of their own must not reach the programs under test, nor traces their home.
for field in fields(ConnectOptions):
    os.environ.pop(f"NPUFLEET_{field.name.upper()}", None)
for name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[name]
# A shell ignores Ctrl-C for what it runs in the background, which programs under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
_traces = tempfile.TemporaryDirectory(prefix="npufleet-test-traces-")
os.environ["NPUFLEET_TRACE_DIR"] = _traces.name


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option for the second run of the tests, without the compiled core."""
    parser.addoption(
        "--default-transport",
        action="store_true",
        help="leave out tests that name their transport: what NPUFLEET_NATIVE chooses does not reach them",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the option says."""
    if not config.getoption("--default-transport"):
        return
    named = [item for item in items if "transport" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=named)
    left_out = set(named)
    items[:] = [item for item in items if item not in left_out]


def native_missing() -> str | None:
    """Why the compiled core cannot be tested here, or None."""
    return None if _engine.native_or_none() else _engine.reason()


def rust_worker_missing() -> str | None:
    """Why no Rust worker can be tested here, or None."""
    native = _engine.native_or_none()
    if native is None:
        return _engine.reason()
    return None if hasattr(native, "run_worker") else "the compiled core was built without the worker"


@pytest.fixture(scope="session")
def native_required() -> None:
    """Skip, with the reason, where the compiled core is absent or off."""
    if why := native_missing():
        pytest.skip(why)


@pytest.fixture(params=["native", "pure"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each way of speaking to the broker."""
    if request.param == "native" and (why := native_missing()):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture(params=["python", "rust"], scope="module")
def worker_engine(request: pytest.FixtureRequest) -> str:
    """Each kind of worker, for tests that start their own."""
    if request.param == "rust" and (why := rust_worker_missing()):
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


@pytest.fixture(scope="session")
def rust_broker() -> Iterator[Broker]:
    """Another nats-server, where a Rust worker is alone."""
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def rust_worker(rust_broker: Broker) -> Iterator[WorkerProcess]:
    """A Rust worker; skips, with the reason, where none can run."""
    if why := rust_worker_missing():
        pytest.skip(why)
    with WorkerProcess(rust_broker.url, engine="rust") as process:
        yield process.ready()


@pytest.fixture(params=["python", "rust"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine, serving the call subjects."""
    request.getfixturevalue(f"{request.param}_worker")
    return str(request.param)


@pytest.fixture
def served(request: pytest.FixtureRequest, engine: str) -> Broker:
    """The broker on which the engine serves."""
    found: Broker = request.getfixturevalue({"python": "broker", "rust": "rust_broker"}[engine])
    return found


@pytest.fixture
def without_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of this process go through the broker; to be named in `usefixtures`, which comes before `fleet`."""
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", "off")


@pytest.fixture
async def fleet(served: Broker, transport: str) -> AsyncIterator[AsyncFleet]:
    """A fleet of one worker of each engine, over each transport."""
    async with AsyncFleet.connect(served.url, transport=transport) as connected:
        yield connected
