"""What becomes of calls when the process that has the frame is gone, stands still, came back, or is another one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, DeadlineExceededError, FleetError, PayloadLostError
from npufleet.payload.channel import security
from npufleet.wire import frame, header
from npufleet.wire.subject import call_id, cancel
from tests.support.channel_stand import ARENA, Shelf, claim, owner, owner_again
from tests.support.responder import respond
from tests.support.waiting import until
from tests.support.worker_stand import Broker, arrays, call, client, deadline, kind, primary_worker, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nats.aio.msg import Msg

    from tests.support.responder import Answer, Responder

SENT = np.random.default_rng(7).standard_normal(10_000)
FRAME = frame.encode({"x": SENT})
CLAIM = claim(1, len(FRAME))
GIVES_UP_S = 5.0
"""How long the channel waits for a handshake."""

SOON_S = 0.7
"""A deadline that is over before the channel gives up by itself."""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker whose workers are the tests' own."""
    with Broker() as running:
        yield running


@pytest.fixture(scope="module")
def url(worker_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a worker of one engine, which sees no arena but its own."""
    folder = tmp_path_factory.mktemp("there")
    with Broker() as running, primary_worker(running.url, worker_engine, NPUFLEET_ARENA_DIR=str(folder)):
        yield running.url


@pytest.fixture
def shelf() -> Shelf:
    """What the other process lends."""
    made = Shelf()
    made.frames[1] = FRAME
    return made


@contextlib.contextmanager
def mute() -> Iterator[str]:
    """Something that takes connections and says nothing: the address of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def gone() -> str:
    """An address where nobody listens any more."""
    with mute() as address:
        return address


async def ask(url: str, address: str, seconds: float = 20) -> Msg:
    """Ask a worker as a caller on another host does whose frame is at an address."""
    headers = {header.CLAIM: str(CLAIM), header.CHANNEL: address, header.ACCEPT: ARENA.hex(), **deadline(seconds)}
    async with client(url) as plain:
        return await call(plain, "echo", b"", route="call", headers=headers)


def wrong(address: str) -> str:
    """The address with the key of somebody else."""
    return f"{address.partition(';')[0]};{security.new_pair()[0]}"


async def test_a_worker_says_that_the_caller_is_gone(url: str) -> None:
    assert kind(await ask(url, gone())) == "payload_lost"


async def test_a_worker_goes_on_while_a_caller_stands_still(url: str) -> None:
    with mute() as address:
        began = time.monotonic()
        waiting = [asyncio.ensure_future(ask(url, address, SOON_S)) for _ in range(3)]
        async with client(url) as plain:
            answer = await call(plain, "echo", {"x": SENT}, route="call")
        assert arrays(answer)["x"].tobytes() == SENT.tobytes()
        assert time.monotonic() - began < SOON_S, "nobody else waits"
        assert {kind(await each) for each in waiting} == {"deadline_exceeded"}


async def test_a_worker_stops_fetching_for_calls_that_are_cancelled(url: str) -> None:
    many = 20  # more than are fetched at once
    answers: dict[str, Msg] = {}

    async def take(message: Msg) -> None:
        answers[message.subject] = message

    with mute() as address:
        headers = {header.CLAIM: str(CLAIM), header.CHANNEL: address, **deadline(20)}
        async with client(url) as plain:
            inbox = plain.new_inbox()
            replies = {f"{inbox}.{number}" for number in range(many)}
            await plain.subscribe(f"{inbox}.*", cb=take)
            began = time.monotonic()
            for reply in replies:
                await plain.publish(subject("echo", route="call"), reply=reply, headers=headers)
            # Behind them: when it is answered, the worker has read all of them.
            await call(plain, "echo", {"x": SENT}, route="call")
            for reply in replies:
                identity = call_id(reply)
                assert identity is not None
                await plain.publish(cancel(identity))
            await until(lambda: answers.keys() == replies, "all of them to be answered")
            assert {kind(answer) for answer in answers.values()} == {"cancelled"}
            assert time.monotonic() - began < GIVES_UP_S, "the channel had not given up by itself"


async def test_a_worker_finds_a_caller_that_came_back_on_the_same_port(url: str, shelf: Shelf) -> None:
    with owner("python", shelf) as address:
        assert kind(await ask(url, address)) is None
    assert kind(await ask(url, address)) == "payload_lost"
    with owner_again("python", shelf, address):
        assert kind(await ask(url, address)) is None


async def test_a_worker_says_that_the_key_is_wrong(url: str, shelf: Shelf) -> None:
    with owner("python", shelf, "curve") as address:
        reply = await ask(url, wrong(address))
        assert kind(reply) == "payload_lost"
        assert kind(await ask(url, address)) is None


async def test_a_worker_refuses_what_is_no_address(url: str) -> None:
    for address in ("tcp://host:1", "ipc:///tmp/x", "tcp://127.0.0.1:0"):
        assert kind(await ask(url, address)) == "invalid_frame"


def lent_at(place: Callable[[], str]) -> Answer:
    """Answer that the result waits at an address."""

    async def answer(responder: Responder, message: Msg) -> None:
        said = {header.ENGINE: "rust", header.DEVICE: "CPU", header.CLAIM: str(CLAIM), header.CHANNEL: place()}
        await responder.client.publish(message.reply, headers=said)

    return answer


async def echo(url: str, transport: str, place: Callable[[], str], seconds: float = 20.0) -> Any:
    """Call once with a worker whose result is at an address."""
    async with respond(url, "call", lent_at(place)), AsyncFleet.connect(url, transport=transport) as fleet:
        return (await fleet.call("echo", {"x": SENT[:10]}, timeout=seconds))["x"]


async def test_a_result_comes_from_where_it_waits(broker: Broker, transport: str, shelf: Shelf) -> None:
    with owner("python", shelf) as address:
        assert np.array_equal(await echo(broker.url, transport, lambda: address), SENT)
        await until(lambda: shelf.released == [1], "its slot to be given back")


async def test_a_result_of_a_worker_that_is_gone_is_lost(broker: Broker, transport: str) -> None:
    with pytest.raises(PayloadLostError):
        await echo(broker.url, transport, gone)


async def test_a_worker_that_stands_still_costs_the_deadline(broker: Broker, transport: str) -> None:
    began = time.monotonic()
    with mute() as address, pytest.raises(DeadlineExceededError):
        await echo(broker.url, transport, lambda: address, SOON_S)
    assert SOON_S * 0.9 < time.monotonic() - began < SOON_S + 2


async def test_a_worker_that_came_back_on_the_same_port_is_found(broker: Broker, transport: str, shelf: Shelf) -> None:
    with owner("python", shelf) as address:
        pass
    async with (
        respond(broker.url, "call", lent_at(lambda: address)),
        AsyncFleet.connect(broker.url, transport=transport) as fleet,
    ):
        for _ in range(2):
            shelf.frames[1] = FRAME
            with owner_again("python", shelf, address):
                assert np.array_equal((await fleet.call("echo", {"x": SENT[:10]}))["x"], SENT)
        with pytest.raises(PayloadLostError):
            await fleet.call("echo", {"x": SENT[:10]})


async def test_a_result_behind_a_wrong_key_is_lost(broker: Broker, transport: str, shelf: Shelf) -> None:
    with owner("python", shelf, "curve") as address:
        with pytest.raises(PayloadLostError):
            await echo(broker.url, transport, lambda: wrong(address))
        assert np.array_equal(await echo(broker.url, transport, lambda: address), SENT)


async def test_closing_ends_a_call_whose_result_is_being_fetched(broker: Broker, transport: str) -> None:
    asked = asyncio.Event()
    with mute() as address:

        def place() -> str:
            asked.set()
            return address

        async with respond(broker.url, "call", lent_at(place)):
            fleet = await AsyncFleet.connect(broker.url, transport=transport)
            waiting = asyncio.ensure_future(fleet.call("echo", {"x": SENT[:10]}, timeout=2.0))
            await asked.wait()
            await fleet.close()
            with pytest.raises(FleetError):
                await waiting
