"""The slow lane to the broker: the model registry and the services protocol, over nats-py in either mode."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import UnavailableError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from npufleet.transport.options import ConnectOptions

SERVICE: Final = "npufleet"
FIRST_ANSWER_S: Final = 0.5
QUIET_S: Final = 0.1
"""Workers answer within milliseconds of each other; after this much silence nobody else is expected."""


class Control:
    """One nats-py connection, opened when it is first needed."""

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options.named(f"{options.name}-control")
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def client(self) -> Client:
        """Return the connection; raises `UnavailableError` with the address when there is no broker."""
        if (client := self._client) is not None and not client.is_closed:
            return client
        from npufleet.transport import connection

        async with self._opening:
            if self._client is None or self._client.is_closed:
                client = connection.Client()
                await connection.connect(client, self._options)
                self._client = client
            return self._client

    async def jetstream(self) -> JetStreamContext:
        """Return the JetStream context of the connection."""
        context: JetStreamContext = (await self.client()).jetstream()
        return context

    async def ask_workers(self, verb: str) -> list[dict[str, Any]]:
        """Return every worker's answer to `PING`, `INFO` or `STATS`; see `ask_services`."""
        return await self.ask_services(verb, SERVICE)

    async def ask_services(self, verb: str, name: str | None = None) -> list[dict[str, Any]]:
        """Return the answers of all services to `PING`, `INFO` or `STATS`, or of those of one name.

        Takes as long as the slowest answer and 0.1 s; an empty list when nobody is there.
        """
        client = await self.client()
        answers: list[dict[str, Any]] = []
        inbox = client.new_inbox()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()

        async def receive(message: Msg) -> None:
            arrived.put_nowait(message)

        subscription = await client.subscribe(inbox, cb=receive)
        try:
            await client.publish(f"$SRV.{verb}.{name}" if name else f"$SRV.{verb}", reply=inbox)
            while True:
                message = await asyncio.wait_for(arrived.get(), QUIET_S if answers else FIRST_ANSWER_S)
                if message.headers and message.headers.get("Status") == "503":
                    return []
                answers.append(json.loads(message.data))
        except TimeoutError:
            return answers
        except ValueError as error:
            raise UnavailableError(f"a service answers {verb} with something that is no JSON: {error}") from error
        finally:
            if not client.is_closed:
                await subscription.unsubscribe()

    async def close(self) -> None:
        """Close the connection if there is one."""
        if self._client is not None:
            await self._client.close()
            self._client = None
