from __future__ import annotations

import asyncio
import multiprocessing
import select
import time
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("npufleet._native", reason="the compiled core is not built")

from npufleet.errors import DeadlineExceededError, InvalidParameterError, PayloadTooLargeError, UnavailableError
from npufleet.transport import native
from npufleet.transport.options import ConnectOptions
from tests.support.native_stand import SUBJECT, ask, broker, echo, plain_client, settled, silence, soon, transport

# Whoever answers here knows no claims.
pytestmark = pytest.mark.usefixtures("without_arena")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from npufleet.broker.server import Server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with broker(tmp_path) as started:
        yield started


async def test_round_trip(server: Server) -> None:
    deadline = soon()
    async with transport(server) as fleet, echo(server):
        assert fleet.state == "connected"
        assert fleet.max_payload == 1 << 20
        reply = await ask(fleet, SUBJECT, b"frame", deadline, {"traceparent": "00-1"})
        assert (reply.status, reply.payload) == (0, b"frame")
        assert reply.payload is reply.payload
        assert reply.header("Npu-Engine") == "test"
        assert reply.header("Seen-Npu-Deadline") == str(deadline)
        assert reply.header("Seen-traceparent") == "00-1"
        assert reply.header("Absent") is None


@pytest.mark.parametrize("size", [0, 1, 16 * 1024 - 1, 16 * 1024, 1_000_000])
async def test_payload_sizes(server: Server, size: int) -> None:
    frame = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with transport(server) as fleet, echo(server):
        reply = await ask(fleet, SUBJECT, frame, soon())
        assert reply.payload == frame


async def test_no_responders(server: Server) -> None:
    async with transport(server) as fleet:
        reply = await ask(fleet, SUBJECT, b"frame", soon())
        assert (reply.status, reply.payload) == (503, b"")


async def test_whoever_was_ready_goes_on_before_an_answer_that_came_later(server: Server) -> None:
    order: list[str] = []

    async def other() -> None:
        order.append("ready before")

    async with transport(server) as fleet:
        # Nobody listens: the broker itself answers, while this thread does not let the loop go on.
        await settled(fleet.request(SUBJECT, b"", soon(), None))
        task = asyncio.ensure_future(other())
        flight = fleet.request(SUBJECT, b"", soon(), None)
        assert select.select([fleet._client.fileno()], [], [], 10)[0]
        await flight
        order.append("answered")
        await task
    assert order == ["ready before", "answered"]


async def test_the_deadline_ends_a_call_and_tells_the_worker(server: Server) -> None:
    async with transport(server) as fleet, silence(server) as heard:
        started = time.monotonic()
        future = fleet.request(SUBJECT, b"frame", soon(0.15))
        with pytest.raises(DeadlineExceededError):
            await future
        assert 0.14 <= time.monotonic() - started < 1.0
        call, cancellation = [await asyncio.wait_for(heard.get(), 5) for _ in range(2)]
        assert cancellation.subject == "npu.v1.cancel." + ".".join(call.reply.split(".")[-2:])
        assert cancellation.data == b""


async def test_a_deadline_that_has_passed(server: Server) -> None:
    async with transport(server) as fleet, silence(server):
        with pytest.raises(DeadlineExceededError):
            await ask(fleet, SUBJECT, b"frame", soon(-5))
        with pytest.raises(DeadlineExceededError):
            await ask(fleet, SUBJECT, b"frame", 0)


async def test_a_deadline_in_the_far_future(server: Server) -> None:
    async with transport(server) as fleet, echo(server):
        assert (await ask(fleet, SUBJECT, b"frame", 2**64 - 1)).payload == b"frame"


async def test_short_deadlines_are_not_delayed_by_long_ones(server: Server) -> None:
    async with transport(server) as fleet, silence(server):
        long = fleet.request(SUBJECT, b"long", soon(30))
        started = time.monotonic()
        for index in range(5):
            with pytest.raises(DeadlineExceededError):
                await ask(fleet, SUBJECT, b"short", soon(0.02 * (index + 1)))
        assert time.monotonic() - started < 2.0
        assert not long.done()


async def test_cancel_tells_the_worker_and_ends_the_future(server: Server) -> None:
    async with transport(server) as fleet, silence(server) as heard:
        future = fleet.request(SUBJECT, b"frame", soon())
        call = await asyncio.wait_for(heard.get(), 5)
        future.cancel()
        assert future.cancelled()
        cancellation = await asyncio.wait_for(heard.get(), 5)
        assert cancellation.subject == "npu.v1.cancel." + ".".join(call.reply.split(".")[-2:])
        future.cancel()  # again: nothing to do
    assert heard.empty()


async def test_a_late_answer_to_a_cancelled_call_goes_nowhere(server: Server) -> None:
    async with transport(server) as fleet, silence(server) as heard, plain_client(server) as late:
        future = fleet.request(SUBJECT, b"frame", soon())
        call = await asyncio.wait_for(heard.get(), 5)
        future.cancel()
        await late.publish(call.reply, b"too late")
        await late.flush()
        other = fleet.request("nobody.listens", b"", soon())
        assert (await settled(other)).status == 503


async def test_a_future_cancelled_by_others_is_left_alone(server: Server) -> None:
    async with transport(server) as fleet, echo(server):
        future = fleet.request(SUBJECT, b"frame", soon())
        future.cancel()
        assert (await ask(fleet, SUBJECT, b"next", soon())).payload == b"next"


async def test_payload_too_large_carries_both_sizes_and_leaves_the_connection(server: Server) -> None:
    # The broker counts the headers in.
    fits = bytes((1 << 20) - len(b"NATS/1.0\r\nNpu-Deadline: \r\n\r\n") - len(str(soon())))
    async with transport(server) as fleet, silence(server) as heard:
        with pytest.raises(PayloadTooLargeError) as refused:
            fleet.request(SUBJECT, fits + b"x", soon())
        assert (refused.value.size, refused.value.limit) == ((1 << 20) + 1, 1 << 20)
        largest = fleet.request(SUBJECT, fits, soon())
        message = await asyncio.wait_for(heard.get(), 10)
        assert message.data == fits
        await message.respond(b"taken")
        assert (await settled(largest)).payload == b"taken"
        assert fleet.state == "connected"


@pytest.mark.parametrize("subject", ["", "two words", "line\r\nPUB other 0", "tab\t"])
async def test_subjects_cannot_smuggle_protocol(server: Server, subject: str) -> None:
    async with transport(server) as fleet:
        with pytest.raises(InvalidParameterError):
            fleet.request(subject, b"", soon())


@pytest.mark.parametrize("header", [("name", "two\r\nlines"), ("na:me", "x"), ("", "x"), ("na me", "x")])
async def test_headers_cannot_smuggle_protocol(server: Server, header: tuple[str, str]) -> None:
    async with transport(server) as fleet:
        with pytest.raises(InvalidParameterError):
            fleet.request(SUBJECT, b"", soon(), dict([header]))


async def test_ten_thousand_at_once(server: Server) -> None:
    async with transport(server) as fleet, echo(server):
        frames = [index.to_bytes(8, "little") * 16 for index in range(10_000)]
        replies = await asyncio.gather(*(fleet.request(SUBJECT, frame, soon(60)) for frame in frames))
        assert [reply.payload for reply in replies] == frames


async def test_close_ends_what_is_in_flight(server: Server) -> None:
    async with transport(server) as fleet, silence(server) as heard:
        futures = [fleet.request(SUBJECT, b"frame", soon()) for _ in range(100)]
        await asyncio.wait_for(heard.get(), 5)
        await fleet.close()
        assert fleet.state == "closed"
        for future in futures:
            with pytest.raises(UnavailableError):
                await future
        with pytest.raises(UnavailableError):
            fleet.request(SUBJECT, b"frame", soon())
        await fleet.close()


async def test_dropped_without_close(server: Server) -> None:
    from npufleet import _native

    client = _native.Client(f'{{"url": "nats://127.0.0.1:{server.port}"}}')
    client.attach(asyncio.get_running_loop(), lambda: None, lambda _: None)
    client.request(SUBJECT, b"frame", soon())
    del client


async def test_options_are_checked(server: Server) -> None:
    from npufleet import _native

    with pytest.raises(InvalidParameterError):
        _native.Client('{"uri": "nats://127.0.0.1"}')
    with pytest.raises(UnavailableError):
        _native.Client('{"url": "http://127.0.0.1"}')


async def test_nobody_at_the_address(server: Server) -> None:
    options = ConnectOptions(url=f"nats://127.0.0.1:{server.port}")
    await server.stop()
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        await native.open(options)


def _use(client: object, verdicts: multiprocessing.Queue[str]) -> None:
    try:
        client.resolve()  # type: ignore[attr-defined]
    except RuntimeError as error:
        verdicts.put(str(error))
    else:
        verdicts.put("no error")


async def test_a_forked_child_is_told(server: Server) -> None:
    from npufleet import _native

    client = _native.Client(f'{{"url": "nats://127.0.0.1:{server.port}"}}')
    context = multiprocessing.get_context("fork")
    verdicts = context.Queue()
    child = context.Process(target=_use, args=(client, verdicts))
    child.start()
    assert "fork" in await asyncio.to_thread(verdicts.get, timeout=10)
    child.join(10)
    assert child.exitcode == 0
    client.resolve()
    client.close()
