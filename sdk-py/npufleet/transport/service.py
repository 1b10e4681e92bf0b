"""The NATS service protocol (ADR-32): any `nats micro` tool sees who answers, their endpoints and their counters."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

VERBS: Final = ("PING", "INFO", "STATS")
_TYPE: Final = "io.nats.micro.v1.{}_response"


class Counted(Protocol):
    """One endpoint of a service."""

    def information(self) -> dict[str, Any]:
        """Return the endpoint's entry in the INFO answer."""
        ...

    def counters(self) -> dict[str, Any]:
        """Return the endpoint's entry in the STATS answer."""
        ...


class Service:
    """Answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` for everybody, for the service and for this instance.

    `metadata` is asked for with every answer, since it may change; where it runs is added.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        version: str,
        description: str,
        metadata: Callable[[], Mapping[str, str]],
        endpoints: Callable[[], Iterable[Counted]],
    ) -> None:
        self._client = client
        self._description = description
        self._metadata = metadata
        self._endpoints = endpoints
        self._started = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._identity: dict[str, Any] = {"name": name, "id": identity, "version": version}
        self._where = {"host": socket.gethostname(), "pid": str(os.getpid())}
        self.subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Subscribe to the nine subjects of the protocol."""
        name, identity = self._identity["name"], self._identity["id"]
        for verb in VERBS:
            for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{name}", f"$SRV.{verb}.{name}.{identity}"):
                self.subscriptions.append(await self._client.subscribe(subject, cb=self._answer))

    async def _answer(self, message: Msg) -> None:
        if message.reply:
            verb = message.subject.split(".")[1]
            await self._client.publish(message.reply, json.dumps(self.response(verb)).encode())

    def response(self, verb: str) -> dict[str, Any]:
        """Return the answer to `PING`, `INFO` or `STATS`."""
        metadata = {**self._where, **self._metadata()}
        response = {"type": _TYPE.format(verb.lower()), **self._identity, "metadata": metadata}
        if verb == "INFO":
            response["description"] = self._description
            response["endpoints"] = [endpoint.information() for endpoint in self._endpoints()]
        elif verb == "STATS":
            response["started"] = self._started
            response["endpoints"] = [endpoint.counters() for endpoint in self._endpoints()]
        return response
