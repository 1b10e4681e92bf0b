"""`Agent`: what it reacts to and what it can be asked for, from its start to its drain."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nats.nuid import NUID

from npufleet.agents import values
from npufleet.agents.endpoint import Endpoint
from npufleet.agents.event import Event, deliverable
from npufleet.agents.invoke import INVOKE_S, check, invoke, subject_of
from npufleet.errors import InvalidParameterError, UnavailableError
from npufleet.transport.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.errors import FleetError
    from npufleet.fleet import AsyncFleet

CONCURRENCY: Final = 64
DRAIN_S: Final = 30.0
_VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([-+][0-9A-Za-z.+-]+)?")
_TOKEN: Final = re.compile(r"[^\s.*>]+")

Handler = TypeVar("Handler", bound="Callable[..., Awaitable[object]]")


@dataclass(frozen=True, slots=True)
class _Reaction:
    name: str
    subject: str
    queue: str
    deliver_to: str | None
    durable: bool
    handler: Callable[[Event], Awaitable[object]]


class Agent:
    """A program that reacts to subjects with operations, and that others ask for things by its name.

    Handlers are registered by the decorators `on` and `action`, before `serve` or `run`. Several processes may serve
    an agent of the same name: each message goes to one of them. `concurrency` messages are handled at once.
    """

    def __init__(
        self, name: str, *, version: str = "0.1.0", description: str = "", concurrency: int = CONCURRENCY
    ) -> None:
        self.name = check("agent", name)
        if not _VERSION.fullmatch(version):
            raise InvalidParameterError(f"version is '{version:.80}'; allowed: a semantic version such as 1.0.0")
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= 10_000:
            raise InvalidParameterError(f"concurrency is {concurrency!r}; allowed: 1 to 10000")
        self.version = version
        self.description = description
        self.concurrency = concurrency
        self._reactions: list[_Reaction] = []
        self._actions: dict[str, Callable[[dict[str, Any]], Awaitable[object]]] = {}
        self._fleet: AsyncFleet | None = None

    @property
    def fleet(self) -> AsyncFleet:
        """The fleet that the agent is connected to; raises `UnavailableError` while it does not serve."""
        if self._fleet is None:
            raise UnavailableError(f"agent '{self.name}' does not serve")
        return self._fleet

    def on(
        self, subject: str, *, deliver_to: str | None = None, durable: bool = False, queue: str | None = None
    ) -> Callable[[Handler], Handler]:
        """React to a subject, which may have wildcards: the decorated coroutine function gets each `Event`.

        What it returns goes to the subject `deliver_to`, or to who asked, as a frame: a mapping of arrays and JSON
        values, a `Result`, bytes as they are, or the result of a `Step`, which is called, or submitted as a job where
        `durable`. None is nothing. An error goes there as well, in the headers of a reply. Of agents with the same
        `queue` (by default the agent's name) one gets a message.
        """
        _check_subject("subject", subject, wild=True)
        if deliver_to is not None:
            _check_subject("deliver_to", deliver_to, wild=False)
        group = check("queue", self.name if queue is None else queue)

        def register(handler: Handler) -> Handler:
            name = getattr(handler, "__name__", "handler")
            self._reactions.append(_Reaction(name, subject, group, deliver_to, durable, handler))
            return handler

        return register

    def action(self, name: str) -> Callable[[Handler], Handler]:
        """Offer something that others ask for by `invoke`: the coroutine function gets the arguments as a mapping.

        It returns a mapping of names to arrays and JSON values, or None. What it raises is raised where it was asked.
        """
        check("action", name)
        if name in self._actions:
            raise InvalidParameterError(f"action '{name}' is there already; allowed: one function for each")

        def register(handler: Handler) -> Handler:
            self._actions[name] = handler
            return handler

        return register

    async def invoke(
        self,
        agent: str,
        action: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout: float = INVOKE_S,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        """Ask another agent for something; see `npufleet.agents.invoke`."""
        return await invoke(self.fleet, agent, action, arguments, timeout=timeout)

    @contextlib.asynccontextmanager
    async def serve(self, fleet: AsyncFleet, *, drain_timeout: float = DRAIN_S) -> AsyncIterator[Agent]:
        """Serve on a fleet's connection as long as the block runs, then finish what has come and take nothing more.

        What is not done after `drain_timeout` seconds is cancelled.
        """
        if self._fleet is not None:
            raise UnavailableError(f"agent '{self.name}' serves already")
        client = await fleet.control.client()
        places = asyncio.Semaphore(self.concurrency)
        reactions = [self._reacting(client, fleet, reaction) for reaction in self._reactions]
        actions = [self._acting(client, fleet, name) for name in self._actions]
        about = lambda: {"npufleet": "agent"}  # noqa: E731
        identity = NUID().next().decode()
        service = Service(client, self.name, identity, self.version, self.description, about, lambda: actions)
        self._fleet = fleet
        endpoints = [*actions, *reactions]
        try:
            for endpoint in endpoints:
                await endpoint.start(client, places)
            await service.start()
            await client.flush()
            yield self
        finally:
            # Not found any more before it stops to hear: whoever finds it may ask it.
            for subscription in service.subscriptions:
                if not client.is_closed:
                    await subscription.unsubscribe()
            await asyncio.gather(*(endpoint.drain(drain_timeout) for endpoint in endpoints))
            self._fleet = None

    def run(self, url: str | None = None, **options: Any) -> None:
        """Connect as `AsyncFleet.connect` does, and serve until SIGTERM or SIGINT; for a program of its own."""
        asyncio.run(self._run(url, options))

    async def _run(self, url: str | None, options: dict[str, Any]) -> None:
        from npufleet.fleet import AsyncFleet

        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with AsyncFleet.connect(url, **options) as fleet, self.serve(fleet):
            await stop.wait()

    def _reacting(self, client: Client, fleet: AsyncFleet, reaction: _Reaction) -> Endpoint:
        async def handle(message: Msg, traced: dict[str, str]) -> None:
            event = Event(message.subject, message.data, dict(message.headers or {}), message.reply)
            found = await deliverable(fleet, await reaction.handler(event), event, durable=reaction.durable)
            target = reaction.deliver_to or message.reply
            if found is not None and target:
                await client.publish(target, found.data, headers={**traced, **found.headers} or None)

        async def refuse(message: Msg, error: FleetError) -> None:
            target = reaction.deliver_to or message.reply
            if target:
                await client.publish(target, b"", headers=values.failure(error))

        return Endpoint(reaction.name, reaction.subject, reaction.queue, handle, refuse)

    def _acting(self, client: Client, fleet: AsyncFleet, name: str) -> Endpoint:
        handler = self._actions[name]

        async def handle(message: Msg, _traced: dict[str, str]) -> None:
            arguments, as_json = values.decode(message.data)
            given = await handler(arguments)
            data = values.encode(f"what {self.name}.{name} returned", given, as_json=as_json)
            if message.reply:
                await client.publish(message.reply, data)

        async def refuse(message: Msg, error: FleetError) -> None:
            if message.reply:
                await client.publish(message.reply, b"", headers=values.failure(error))

        return Endpoint(name, subject_of(fleet.options.prefix, self.name, name), "q", handle, refuse)


def _check_subject(field: str, subject: str, *, wild: bool) -> None:
    tokens = subject.split(".") if isinstance(subject, str) else [""]
    special = {"*"} if wild else set()
    *first, last = tokens
    good = all(_TOKEN.fullmatch(token) or token in special for token in first)
    if not good or not (_TOKEN.fullmatch(last) or last in special or (wild and last == ">")):
        allowed = "a NATS subject" if wild else "a NATS subject without wildcards"
        raise InvalidParameterError(f"{field} is {subject!r:.80}; allowed: {allowed}")
