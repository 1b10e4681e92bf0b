"""The NATS service protocol (ADR-32): any `nats micro` tool sees the worker, its endpoints and their counters."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.worker.endpoint import Endpoint

NAME: Final = "npufleet"
VERBS: Final = ("PING", "INFO", "STATS")
_DESCRIPTION: Final = "tensor operations of the npufleet contract, done in Python"
_TYPE: Final = "io.nats.micro.v1.{}_response"


class Service:
    """Answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` for everybody, for the service and for this worker."""

    def __init__(
        self,
        client: Client,
        worker_id: str,
        devices: Callable[[], list[dict[str, Any]]],
        endpoints: Callable[[], Iterable[Endpoint]],
    ) -> None:
        from npufleet import __version__

        self._client = client
        self._devices = devices
        self._endpoints = endpoints
        self._started = _timestamp()
        self._identity: dict[str, Any] = {
            "name": NAME,
            "id": worker_id,
            "version": __version__,
            "metadata": {
                "engine": "python",
                "host": socket.gethostname(),
                "pid": str(os.getpid()),
                "contract": "1",
            },
        }

    async def start(self) -> None:
        """Subscribe to the nine subjects of the protocol."""
        for verb in VERBS:
            for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{NAME}", f"$SRV.{verb}.{NAME}.{self._identity['id']}"):
                await self._client.subscribe(subject, cb=self._answer)

    async def _answer(self, message: Msg) -> None:
        if message.reply:
            verb = message.subject.split(".")[1]
            await self._client.publish(message.reply, json.dumps(self.response(verb)).encode())

    def response(self, verb: str) -> dict[str, Any]:
        """Return the answer to `PING`, `INFO` or `STATS`."""
        metadata = {**self._identity["metadata"], "devices": json.dumps(self._devices())}
        response = {"type": _TYPE.format(verb.lower()), **self._identity, "metadata": metadata}
        if verb == "INFO":
            response["description"] = _DESCRIPTION
            response["endpoints"] = [endpoint.information() for endpoint in self._endpoints()]
        elif verb == "STATS":
            response["started"] = self._started
            response["endpoints"] = [endpoint.counters() for endpoint in self._endpoints()]
        return response


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
