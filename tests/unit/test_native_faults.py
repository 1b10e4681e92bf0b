from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("npufleet._native", reason="the compiled core is not built")

from npufleet.errors import DeadlineExceededError, UnavailableError
from npufleet.transport import native
from npufleet.transport.options import ConnectOptions
from tests.support.native_stand import SUBJECT, ask, broker, echo, settled, silence, soon, transport
from tests.support.waiting import until

# Whoever answers here knows no claims.
pytestmark = pytest.mark.usefixtures("without_arena")

if TYPE_CHECKING:
    from pathlib import Path

USERS = """
authorization { users = [
  { user: worker, password: "w", permissions: { publish: ">", subscribe: ">" } }
  { user: alice, password: "p@ss:w/rd", permissions: {
    publish: ["npu.v1.call.*.echo", "npu.v1.cancel.>"], subscribe: "_INBOX_alice.>" } }
] }
"""


async def test_broker_restart(tmp_path: Path) -> None:
    async with broker(tmp_path) as first:
        fleet = await native.open(ConnectOptions(url=f"nats://127.0.0.1:{first.port}"))
        async with silence(first) as heard:
            in_flight = [fleet.request(SUBJECT, b"lost", soon()) for _ in range(20)]
            for _ in in_flight:
                await asyncio.wait_for(heard.get(), 5)
        await first.stop()
    await until(lambda: fleet.state == "reconnecting")
    for future in in_flight:
        with pytest.raises(UnavailableError):
            await future
    waiting = fleet.request(SUBJECT, b"waits", soon(20))
    expires = fleet.request(SUBJECT, b"expires", soon(0.05))
    dropped = fleet.request(SUBJECT, b"dropped", soon(20))
    dropped.cancel()
    with pytest.raises(DeadlineExceededError):
        await expires
    async with broker(tmp_path, port=first.port) as second:
        # It leaves with the new connection; nobody listens there yet.
        assert (await settled(waiting)).status == 503
        assert fleet.state == "connected"
        async with silence(second) as heard:
            again = fleet.request(SUBJECT, b"again", soon())
            message = await asyncio.wait_for(heard.get(), 10)
            assert message.data == b"again"
            await message.respond(b"answered")
            assert (await settled(again)).payload == b"answered"
            assert heard.empty()
        await fleet.close()


async def test_calls_after_a_restart_work(tmp_path: Path) -> None:
    async with broker(tmp_path) as first:
        fleet = await native.open(ConnectOptions(url=f"nats://127.0.0.1:{first.port}"))
    async with broker(tmp_path, port=first.port) as second, echo(second):
        await until(lambda: fleet.state == "connected")
        replies = await asyncio.gather(*(fleet.request(SUBJECT, b"again", soon()) for _ in range(100)))
        assert {reply.payload for reply in replies} == {b"again"}
        await fleet.close()


async def test_close_while_the_broker_is_away(tmp_path: Path) -> None:
    async with broker(tmp_path) as server:
        fleet = await native.open(ConnectOptions(url=f"nats://127.0.0.1:{server.port}"))
    await until(lambda: fleet.state == "reconnecting")
    future = fleet.request(SUBJECT, b"never", soon(60))
    async with asyncio.timeout(5):
        await fleet.close()
    with pytest.raises(UnavailableError):
        await future


async def test_users(tmp_path: Path) -> None:
    async with broker(tmp_path, USERS) as server:
        async with transport(server, user="alice", password="p@ss:w/rd") as fleet:
            assert (await ask(fleet, SUBJECT, b"", soon())).status == 503
        address = f"127.0.0.1:{server.port}"
        inside = ConnectOptions(url=f"nats://alice:p%40ss%3Aw%2Frd@{address}")
        fleet = await native.open(inside)
        assert (await ask(fleet, SUBJECT, b"", soon())).status == 503
        await fleet.close()
        with pytest.raises(UnavailableError, match=r"(?i)authorization") as refused:
            await native.open(ConnectOptions(url=f"nats://{address}", user="alice", password="wrong"))
        assert "wrong" not in str(refused.value)


async def test_credentials_inside_the_url_of_the_core(tmp_path: Path) -> None:
    from npufleet import _native

    async with broker(tmp_path, USERS) as server:
        address = f"nats://alice:p%40ss%3Aw%2Frd@127.0.0.1:{server.port}"
        client = await asyncio.to_thread(_native.Client, f'{{"url": "{address}", "inbox_prefix": "_INBOX_alice"}}')
        assert client.state == "connected"
        client.close()
    with pytest.raises(UnavailableError) as refused:
        await asyncio.to_thread(_native.Client, f'{{"url": "{address}"}}')
    assert "p%40ss" not in str(refused.value)


async def test_a_forbidden_subject_fails_at_once(tmp_path: Path) -> None:
    async with broker(tmp_path, USERS) as server, transport(server, user="alice", password="p@ss:w/rd") as fleet:
        allowed = fleet.request(SUBJECT, b"", soon())
        with pytest.raises(UnavailableError, match=r"npu\.v1\.control\.x"):
            await ask(fleet, "npu.v1.control.x", b"", soon(60))
        assert (await settled(allowed)).status == 503


async def test_a_forbidden_inbox_fails_every_call(tmp_path: Path) -> None:
    async with (
        broker(tmp_path, USERS) as server,
        transport(server, user="alice", password="p@ss:w/rd", inbox_prefix="_INBOX") as fleet,
    ):
        with pytest.raises(UnavailableError, match="inbox_prefix"):
            await ask(fleet, SUBJECT, b"", soon(60))


async def test_a_broker_that_is_no_broker(tmp_path: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ready\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UnavailableError, match=str(port)):
            await native.open(ConnectOptions(url=f"nats://127.0.0.1:{port}"))


async def test_a_broker_that_says_nothing(tmp_path: Path) -> None:
    from npufleet import _native

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UnavailableError, match="timed out"):
            await asyncio.to_thread(_native.Client, f'{{"url": "127.0.0.1:{port}", "connect_timeout": 0.2}}')
