"""Reaching a broker: addresses, credentials, what a refusal says, and how a fleet is opened and closed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import numpy as np
import pytest
import safetensors.numpy

from npufleet import AsyncFleet, InvalidParameterError, UnavailableError, _engine
from npufleet.broker.server import Server
from tests.conftest import native_missing
from tests.support.responder import respond
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.worker_stand import Broker, WorkerProcess

X = {"x": np.arange(3.0)}
USERS = 'authorization { users [ { user: "ann", password: "p:@/ss" } ] }'
TOKEN = 'authorization { token: "s3cret" }'


@asynccontextmanager
async def server(folder: Path, text: str) -> AsyncIterator[Server]:
    configuration = folder / "server.conf"
    configuration.write_text(text)
    async with await Server.start(configuration, {}) as running:
        yield running


async def test_a_fleet_can_be_awaited_and_closed(broker: Broker, transport: str) -> None:
    fleet = await AsyncFleet.connect(broker.url, transport=transport)
    assert (fleet.state, fleet.transport) == ("connected", transport)
    await fleet.close()
    await fleet.close()
    assert fleet.state == "closed"


async def test_a_fleet_can_be_used_as_a_context(broker: Broker, transport: str) -> None:
    async with AsyncFleet.connect(broker.url, transport=transport) as fleet:
        assert fleet.state == "connected"
    assert fleet.state == "closed"
    async with await AsyncFleet.connect(broker.url, transport=transport) as fleet:
        assert fleet.state == "connected"
    assert fleet.state == "closed"


async def test_the_environment_says_where_when_the_program_does_not(
    broker: Broker, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPUFLEET_URL", broker.url)
    async with AsyncFleet.connect(transport=transport) as fleet:
        assert fleet.url == broker.url


async def test_a_user_and_password_inside_the_address_or_beside_it(tmp_path: Path, transport: str) -> None:
    async with server(tmp_path, USERS) as running:
        address = f"127.0.0.1:{running.port}"
        url = f"nats://ann:p%3A%40%2Fss@{address}"
        for opening in (
            AsyncFleet.connect(url, transport=transport),
            AsyncFleet.connect(f"nats://{address}", user="ann", password="p:@/ss", transport=transport),
        ):
            async with opening as fleet:
                assert fleet.url == url
                assert fleet.options.inbox_prefix == "_INBOX_ann"
                with pytest.raises(UnavailableError):
                    await fleet.call("echo", X)
                assert fleet.state == "connected"


async def test_a_token(tmp_path: Path, transport: str) -> None:
    async with server(tmp_path, TOKEN) as running:
        for opening in (
            AsyncFleet.connect(f"nats://s3cret@127.0.0.1:{running.port}", transport=transport),
            AsyncFleet.connect(f"nats://127.0.0.1:{running.port}", token="s3cret", transport=transport),
        ):
            async with opening as fleet:
                assert fleet.url == f"nats://s3cret@127.0.0.1:{running.port}"


async def test_a_wrong_password_is_refused_without_showing_it(tmp_path: Path, transport: str) -> None:
    async with server(tmp_path, USERS) as running:
        with pytest.raises(UnavailableError) as refused:
            await AsyncFleet.connect(f"nats://ann:hunter2@127.0.0.1:{running.port}", transport=transport)
    assert f"127.0.0.1:{running.port}" in str(refused.value)
    assert "uthoriz" in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_fleet_that_was_locked_out_comes_back_when_it_is_let_in_again(tmp_path: Path, transport: str) -> None:
    async with (
        server(tmp_path, USERS) as running,
        AsyncFleet.connect(
            f"nats://127.0.0.1:{running.port}", user="ann", password="p:@/ss", transport=transport
        ) as fleet,
    ):
        (tmp_path / "server.conf").write_text(USERS.replace("ann", "bob"))
        os.kill(running.pid, signal.SIGHUP)
        await until(lambda: fleet.state != "connected", "being locked out")
        (tmp_path / "server.conf").write_text(USERS)
        os.kill(running.pid, signal.SIGHUP)
        await until(lambda: fleet.state == "connected", "being let in", 20)
        with pytest.raises(UnavailableError, match="no worker answers"):
            await fleet.call("echo", X, timeout=10)


async def test_no_broker_says_which_address_and_what_helps(transport: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as refused:
            await AsyncFleet.connect(f"nats://127.0.0.1:{port}", transport=transport)
    assert f"nats://127.0.0.1:{port}" in str(refused.value)
    assert "npufleet up" in str(refused.value)
    assert isinstance(refused.value, ConnectionError)


async def test_something_that_is_no_broker_is_refused_in_time(transport: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()

    mail = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with mail:
        port = mail.sockets[0].getsockname()[1]
        with pytest.raises(UnavailableError):
            await AsyncFleet.connect(f"nats://127.0.0.1:{port}", transport=transport)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"url": "http://127.0.0.1"}, "http://127.0.0.1"),
        ({"url": "nats://"}, "nats://"),
        ({"url": "nats://ann:secret@host:99999"}, "port"),
        ({"credentials": "/nothing/here.creds"}, "/nothing/here.creds"),
        ({"tls_ca": "/nothing/ca.pem"}, "tls_ca"),
        ({"transport": "pigeon"}, "pigeon"),
        ({"prefix": "a b"}, "a b"),
    ],
)
async def test_options_that_cannot_be_are_refused(given: dict[str, str], word: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        await AsyncFleet.connect(**given)  # type: ignore[arg-type]
    assert word in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_the_native_transport_says_when_it_is_not_there(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "native_or_none", lambda: None)
    monkeypatch.setattr(_engine, "reason", lambda: "it was never built")
    with pytest.raises(UnavailableError, match="it was never built"):
        await AsyncFleet.connect(broker.url, transport="native")
    async with AsyncFleet.connect(broker.url) as fleet:
        assert fleet.transport == "pure"


@pytest.mark.skipif(native_missing() is not None, reason=str(native_missing()))
async def test_the_compiled_core_is_the_default(broker: Broker) -> None:
    async with AsyncFleet.connect(broker.url) as fleet:
        assert fleet.transport == "native"


async def test_another_prefix_is_another_fleet(broker: Broker, python_worker: WorkerProcess, transport: str) -> None:
    async with AsyncFleet.connect(broker.url, transport=transport, prefix="other.tenant") as fleet:
        with pytest.raises(UnavailableError):
            await fleet.call("echo", X)
        async with respond(broker.url, "call", prefix="other.tenant"):
            assert (await fleet.call("echo", X)).engine == "rust"


async def test_a_program_that_knows_only_nats_and_safetensors_can_ask(fleet: AsyncFleet, engine: str) -> None:
    plain = await nats.connect(fleet.url)
    try:
        samples = np.sin(np.arange(64.0))
        metadata = {"params": json.dumps({"norm": "ortho"})}
        request = safetensors.numpy.save({"x": samples}, metadata)
        reply = await plain.request("npu.v1.call.normal.fft", request, timeout=10)
        assert reply.headers["Npu-Engine"] == engine
        spectrum = safetensors.numpy.load(reply.data)["y"].view(np.complex128)[..., 0]
        np.testing.assert_allclose(spectrum, np.fft.rfft(samples, norm="ortho"), atol=1e-12)
    finally:
        await plain.close()
