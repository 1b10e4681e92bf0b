"""A broker, a worker of a few lines and a native transport, for tests of the transport alone."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from npufleet.broker.server import Server
from npufleet.transport import native
from npufleet.transport.connection import Client
from npufleet.transport.options import ConnectOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

    from npufleet.transport import Flight

SUBJECT = "npu.v1.call.normal.echo"


def soon(seconds: float = 10.0) -> int:
    """A deadline that far ahead, in unix microseconds."""
    return int((time.time() + seconds) * 1e6)


@asynccontextmanager
async def broker(folder: Path, text: str = "", port: int = -1) -> AsyncIterator[Server]:
    configuration = folder / "server.conf"
    configuration.write_text(text)
    async with await Server.start(configuration, {}, port=port) as server:
        yield server


@asynccontextmanager
async def transport(server: Server, **options: str) -> AsyncIterator[native.NativeTransport]:
    opened = await native.open(ConnectOptions(url=f"nats://127.0.0.1:{server.port}", **options))
    try:
        yield opened
    finally:
        await opened.close()


async def ask(
    transport: native.NativeTransport,
    subject: str,
    frame: bytes,
    deadline_us: int,
    headers: dict[str, str] | None = None,
) -> Flight:
    """Send a request and wait for its reply."""
    return await settled(transport.request(subject, frame, deadline_us, headers))


async def settled(flight: Flight) -> Flight:
    """Wait for the reply of a request that was sent; a flight is its own reply."""
    await flight
    return flight


@asynccontextmanager
async def plain_client(server: Server, **options: object) -> AsyncIterator[Client]:
    client = Client()
    await client.connect(f"nats://127.0.0.1:{server.port}", allow_reconnect=False, **options)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def echo(server: Server) -> AsyncIterator[Client]:
    """Answer every call with its own payload, and its deadline in a header."""

    async def answer(message: Msg) -> None:
        headers = {"Npu-Engine": "test", "Seen-Deadline": message.headers["Npu-Deadline"]}
        headers |= {f"Seen-{name}": value for name, value in message.headers.items()}
        await client.publish(message.reply, message.data, headers=headers)

    async with plain_client(server) as client:
        await client.subscribe("npu.v1.call.>", cb=answer)
        await client.flush()
        yield client


@asynccontextmanager
async def silence(server: Server) -> AsyncIterator[asyncio.Queue[Msg]]:
    """Take calls and cancellations and answer nothing; the queue is what was heard."""
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    async with plain_client(server) as client:
        for subject in ("npu.v1.call.>", "npu.v1.cancel.>"):
            await client.subscribe(subject, cb=heard.put)
        await client.flush()
        yield heard
