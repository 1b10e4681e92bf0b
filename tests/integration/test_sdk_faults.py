"""Processes that die, restart or drown while calls are in flight: every call ends, with an answer or a typed error."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, FleetError, OverloadedError, UnavailableError
from tests.conftest import rust_worker_missing
from tests.support.responder import listen, respond, silence
from tests.support.waiting import until
from tests.support.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Start = Callable[..., WorkerProcess]

X = {"x": np.arange(3.0)}
TIMEOUT = 4.0


@pytest.fixture(params=["python", "rust"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts a worker of each engine that serves the call subjects."""
    if request.param == "python":
        return lambda url, *options: WorkerProcess(url, "--primary", *options)
    if why := rust_worker_missing():
        pytest.skip(why)
    return lambda url, *options: WorkerProcess(url, *options, engine="rust")


# Neither end knows what the other is made of: two pairs show as much as four, and take half of the time.
each_end = pytest.mark.parametrize(
    ("transport", "start"),
    [
        ("native", "rust"),
        ("pure", "python"),
        pytest.param("native", "python", marks=pytest.mark.slow),
        pytest.param("pure", "rust", marks=pytest.mark.slow),
    ],
    indirect=True,
)


async def outcomes(calls: Iterable[Any]) -> Counter[str]:
    """Let all calls end; count their engines, or the kinds of their errors."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    for each in ended:
        if isinstance(each, BaseException) and not isinstance(each, FleetError):
            raise each
    return Counter(each.kind if isinstance(each, FleetError) else str(each.engine) for each in ended)


@each_end
async def test_the_calls_of_a_killed_worker_are_answered_by_another_engine(transport: str, start: Start) -> None:
    with Broker() as broker, start(broker.url) as dying, WorkerProcess(broker.url) as other:
        dying.ready()
        other.ready()
        async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
            async with listen(broker.url, "npu.v1.call.>") as sent:
                calls = [
                    asyncio.ensure_future(fleet.call("echo", X, {"delay": 0.4}, timeout=TIMEOUT)) for _ in range(4)
                ]
                await until(lambda: len(sent) == 4, "the broker passing the calls on")
                dying.process.send_signal(signal.SIGKILL)
                started = time.monotonic()
                assert await outcomes(calls) == {"python": 4}
                assert time.monotonic() - started < TIMEOUT
            assert fleet.statistics().fallbacks == {"no_answer": 4}
            after = await fleet.call("echo", X, timeout=TIMEOUT)
            assert after.fallback_reason == "no_responders"


@each_end
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_calls_in_flight_at_a_broker_restart_end_and_the_fleet_goes_on(
    transport: str, start: Start, number: signal.Signals
) -> None:
    with Broker() as broker, start(broker.url) as worker:
        worker.ready()
        async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
            engine = (await fleet.call("echo", X)).engine
            slow = [asyncio.ensure_future(fleet.call("echo", X, {"delay": 2.0}, timeout=60)) for _ in range(6)]
            await fleet.call("fft", X["x"], lane="realtime")
            broker.process.send_signal(number)
            broker.process.wait()
            started = time.monotonic()
            assert await outcomes(slow) == {"unavailable": 6}
            assert time.monotonic() - started < 5, "the loss of the connection was not noticed"
            assert fleet.state == "reconnecting"

            with pytest.raises(FleetError) as down:
                await fleet.call("echo", X, timeout=0.3)
            assert down.value.kind in ("unavailable", "deadline_exceeded")

            waiting = asyncio.ensure_future(fleet.call("echo", X, timeout=20))
            broker.start()
            await until(lambda: fleet.state == "connected", "the reconnection")

            async def served() -> bool:
                try:
                    return (await fleet.call("echo", X, timeout=5)).engine == engine
                except FleetError:
                    return False  # the worker is on its way back, too

            await until(served, "calls being answered again", 20)
            assert set(await outcomes([waiting])) <= {engine, "unavailable"}


async def test_calls_under_a_broker_restart_are_never_answered_with_something_else(
    transport: str, start: Start
) -> None:
    """Each answer belongs to its call, whatever happens to the connection in between."""
    with Broker() as broker, start(broker.url) as worker:
        worker.ready()
        async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
            stop = asyncio.Event()
            ended: Counter[str] = Counter()

            async def keep_calling(start: int) -> None:
                number = start
                while not stop.is_set():
                    number += 1
                    try:
                        result = await fleet.call("echo", {"x": np.array([number])}, timeout=10)
                    except UnavailableError:
                        ended["unavailable"] += 1
                        await asyncio.sleep(0)  # nobody else runs while calls fail at once
                    else:
                        assert result["x"].tolist() == [number]
                        ended["answered"] += 1

            callers = [asyncio.ensure_future(keep_calling(start * 10**6)) for start in range(16)]
            await until(lambda: ended["answered"] > 200, "calls being answered")
            broker.kill()
            await until(lambda: fleet.state == "reconnecting", "the loss being noticed")
            broker.start()
            before = ended["answered"]
            await until(lambda: ended["answered"] > before + 200, "calls being answered again", 20)
            stop.set()
            await asyncio.gather(*callers)


async def test_a_worker_that_hangs_past_the_deadline_costs_no_more_than_the_deadline(transport: str) -> None:
    with Broker() as broker:
        async with (
            AsyncFleet.connect(broker.url, transport=transport) as fleet,
            respond(broker.url, "call", silence),
            respond(broker.url, "fallback", silence),
        ):
            started = time.monotonic()
            assert await outcomes(fleet.call("echo", X, timeout=0.4) for _ in range(200)) == {"deadline_exceeded": 200}
            assert time.monotonic() - started < 3


@each_end
@pytest.mark.timeout(120)
async def test_ten_thousand_calls_to_a_worker_that_admits_a_hundred(transport: str, start: Start) -> None:
    with Broker() as broker, start(broker.url, "--queue-limit", "100", "--executors", "1") as worker:
        worker.ready()
        async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
            calls = [
                fleet.call("echo", {"x": np.array([number])}, {"delay": 0.01}, timeout=60) for number in range(10_000)
            ]
            ended = await asyncio.gather(*calls, return_exceptions=True)
    answered = [number for number, each in enumerate(ended) if not isinstance(each, BaseException)]
    refused = [each for each in ended if isinstance(each, OverloadedError)]
    assert len(answered) + len(refused) == 10_000, Counter(type(each).__name__ for each in ended)
    assert answered
    assert refused
    assert all(ended[number]["x"].tolist() == [number] for number in answered)
    assert all(each.retry_after is not None and each.retry_after >= 0 for each in refused)


async def test_closing_ends_the_calls_in_flight(transport: str) -> None:
    with Broker() as broker:
        async with respond(broker.url, "call", silence) as rust:
            fleet = await AsyncFleet.connect(broker.url, transport=transport)
            calls = [asyncio.ensure_future(fleet.call("echo", X)) for _ in range(3)]
            await until(lambda: len(rust.heard) == 3, "the calls being sent")
            await fleet.close()
            assert await outcomes(calls) == {"unavailable": 3}
            assert fleet.state == "closed"
            with pytest.raises(UnavailableError):
                await fleet.call("echo", X)
            await fleet.close()
