"""`Fleet`: the same for programs without an event loop, and without leaving anything behind."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet, DeadlineExceededError, Fleet, UnavailableError
from npufleet.blocking import BlockingModels
from npufleet.blocking_jobs import BlockingDeadLetters, BlockingJob, BlockingJobs
from npufleet.jobs.dead import DeadLetters
from npufleet.jobs.job import Job
from npufleet.jobs.registry import Jobs
from npufleet.models import Models
from tests.support.worker_stand import SDK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.worker_stand import Broker, WorkerProcess

X = np.arange(8.0)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "npufleet"]


@pytest.fixture
def blocking(broker: Broker, python_worker: WorkerProcess, transport: str) -> Iterator[Fleet]:
    with Fleet.connect(broker.url, transport=transport) as fleet:
        yield fleet
    assert threads() == []


def test_it_does_what_the_asynchronous_one_does(blocking: Fleet) -> None:
    np.testing.assert_allclose(blocking.fft(X), np.fft.rfft(X), atol=1e-12)
    assert blocking.call("echo", {"x": X}, delay=0.0).engine == "python"
    spectra = blocking.map("fft", np.stack([X] * 10), rows_per_request=3)
    assert isinstance(spectra, np.ndarray)
    assert spectra.shape == (10, 5)
    assert blocking.models.list() == []
    assert blocking.statistics().answered == 6
    assert blocking.state == "connected"
    assert blocking.pids == {}


def test_any_thread_may_call(blocking: Fleet) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: blocking.call("echo", {"x": np.array([number])})["x"][0], range(200)))
    assert results == list(range(200))


def test_errors_arrive_in_the_calling_thread(blocking: Fleet) -> None:
    with pytest.raises(DeadlineExceededError):
        blocking.call("echo", {"x": X}, {"delay": 20.0}, timeout=0.1)


def test_an_interrupt_cancels_the_call(blocking: Fleet) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        blocking.call("echo", {"x": X}, {"delay": 50.0}, timeout=55)
    timer.join()
    # The executors are free again, all of them.
    for _ in range(os.cpu_count() or 1):
        blocking.call("echo", {"x": X}, timeout=10)
    assert blocking.statistics().errors == {"cancelled": 1}


def test_a_coroutine_can_be_run_on_its_thread(blocking: Fleet) -> None:
    async def two() -> int:
        return len(await blocking.asynchronous.fft(X)) + len(await blocking.asynchronous.fft(X))

    assert blocking.run(two()) == 10


def test_a_closed_fleet_says_so(broker: Broker, transport: str) -> None:
    fleet = Fleet.connect(broker.url, transport=transport)
    fleet.close()
    fleet.close()
    with pytest.raises(UnavailableError, match="closed"):
        fleet.call("echo", {"x": X})
    assert threads() == []


def test_a_fleet_that_cannot_connect_leaves_no_thread(transport: str) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        Fleet.connect("nats://127.0.0.1:1", transport=transport)
    assert threads() == []


def test_a_forgotten_fleet_gives_its_thread_back(broker: Broker, transport: str) -> None:
    fleet = Fleet.connect(broker.url, transport=transport)
    del fleet
    assert threads() == []


FORGETFUL = """
import sys
import numpy as np
from npufleet import Fleet
fleet = Fleet.connect(sys.argv[1], transport=sys.argv[2])
print(fleet.call("echo", {"x": np.arange(3)})["x"].tolist(), flush=True)
"""
WAITING = FORGETFUL + 'fleet.call("echo", {"x": np.arange(3)}, {"delay": 50.0}, timeout=60)\n'


def program(text: str, url: str, transport: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", text, url, transport]
    environment = {**os.environ, "PYTHONPATH": str(SDK)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_program_that_forgets_to_close_ends(broker: Broker, python_worker: WorkerProcess, transport: str) -> None:
    with program(FORGETFUL, broker.url, transport) as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "[0, 1, 2]\n", "")


def test_ctrl_c_ends_a_program(broker: Broker, python_worker: WorkerProcess, transport: str) -> None:
    with program(WAITING, broker.url, transport) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[0, 1, 2]\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors.splitlines(), errors
    assert process.returncode == -signal.SIGINT


def public(cls: type) -> set[str]:
    return {name for each in cls.__mro__[:-1] for name in vars(each) if not name.startswith("_")}


def parameters(function: object) -> list[tuple[str, object, object]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asynchronous", "blocking_class"),
    [
        (AsyncFleet, Fleet),
        (Models, BlockingModels),
        (Jobs, BlockingJobs),
        (Job, BlockingJob),
        (DeadLetters, BlockingDeadLetters),
    ],
    ids=["fleet", "models", "jobs", "job", "dead"],
)
def test_both_have_the_same_methods(asynchronous: type, blocking_class: type) -> None:
    only = {"control", "options", "why_nobody_serves", "check_inputs", "run", "asynchronous"}
    only |= {
        "id",
        "lane",
        "model",
        "operation",
        "own",
        "scheduled",
        "trace_id",
    }  # attributes of one, properties of the other
    names = public(asynchronous)
    assert names - only == public(blocking_class) - only
    for name in names - only - {"connect", "local"}:
        ours, theirs = getattr(asynchronous, name), getattr(blocking_class, name)
        if not isinstance(ours, property):
            assert parameters(ours) == parameters(theirs), name


MANY_FLEETS = """
import sys
import numpy as np
from npufleet import Fleet
for _ in range(5):
    with Fleet.connect(sys.argv[1], transport=sys.argv[2]) as fleet:
        for _ in range(50):
            fleet.fft(np.ones(64))
"""


def test_one_program_opens_many_fleets_one_after_another(
    transport: str, broker: Broker, python_worker: WorkerProcess
) -> None:
    # Each runs on a thread of its own, and a compiled core must not mind where memory was taken.
    finished = subprocess.run([sys.executable, "-c", MANY_FLEETS, broker.url, transport], timeout=50, check=False)
    assert finished.returncode == 0
