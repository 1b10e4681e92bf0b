"""A worker of a few lines that answers as a test tells it to: a real NATS client, and nothing of our worker."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from npufleet.transport import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    Answer = Callable[["Responder", Msg], Awaitable[None]]


class Responder:
    """Answers on one subject; `heard` are the requests, in order."""

    def __init__(self, client: Client, engine: str, answer: Answer) -> None:
        self.client = client
        self.engine = engine
        self.answer = answer
        self.heard: list[Msg] = []

    async def receive(self, message: Msg) -> None:
        self.heard.append(message)
        await self.answer(self, message)

    async def echo(self, message: Msg) -> None:
        """Give the request's frame back, as an engine does that has fallen back when the request says so."""
        headers = {"Npu-Engine": self.engine, "Npu-Device": "CPU"}
        headers |= {name: message.headers[name] for name in ("Npu-Fallback-Reason",) if name in message.headers}
        await self.client.publish(message.reply, message.data, headers=headers)

    async def fail(self, message: Msg, kind: str, text: str = "as the test wants it", **headers: str) -> None:
        """Answer with an error kind."""
        said = {"Nats-Service-Error": text, "Nats-Service-Error-Code": "400", "Npu-Error-Kind": kind}
        await self.client.publish(message.reply, headers={**said, "Npu-Engine": self.engine, **headers})


async def echo(responder: Responder, message: Msg) -> None:
    await responder.echo(message)


async def silence(responder: Responder, message: Msg) -> None:
    """Say nothing, like a worker that hangs."""


def failing(kind: str, text: str = "as the test wants it", **headers: str) -> Answer:
    """Always answer with an error kind."""

    async def answer(responder: Responder, message: Msg) -> None:
        await responder.fail(message, kind, text, **headers)

    return answer


def after(event: asyncio.Event, then: Answer = echo) -> Answer:
    """Answer once an event is set, without holding up other requests."""
    waiting: set[asyncio.Task[None]] = set()

    async def later(responder: Responder, message: Msg) -> None:
        await event.wait()
        await then(responder, message)

    async def answer(responder: Responder, message: Msg) -> None:
        task = asyncio.ensure_future(later(responder, message))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    return answer


async def connected(url: str) -> connection.Client:
    client = connection.Client()
    await client.connect(url)
    return client


@asynccontextmanager
async def respond(
    url: str,
    route: str,
    answer: Answer = echo,
    *,
    operation: str = "echo",
    engine: str | None = None,
    prefix: str = "npu",
) -> AsyncIterator[Responder]:
    """Serve one operation on the `call` or the `fallback` subjects."""
    client = await connected(url)
    try:
        responder = Responder(client, engine or ("rust" if route == "call" else "python"), answer)
        await client.subscribe(
            f"{prefix}.v1.{route}.*.{operation}", queue="rust" if route == "call" else "python", cb=responder.receive
        )
        await client.flush()
        yield responder
    finally:
        await client.close()


@asynccontextmanager
async def listen(url: str, subject: str) -> AsyncIterator[list[Msg]]:
    """Collect everything that is published on a subject."""
    client = await connected(url)
    heard: list[Msg] = []

    async def receive(message: Msg) -> None:
        heard.append(message)

    try:
        subscription = await client.subscribe(subject, cb=receive)
        await client.flush()
        yield heard
        # Until the broker knows that nobody listens any more, a request to the subject has somebody to go to.
        await subscription.unsubscribe()
        await client.flush()
    finally:
        await client.close()
