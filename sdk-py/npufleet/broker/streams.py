"""The streams and consumers of durable jobs: read from streams.toml, created where they are missing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.errors import UnavailableError
from npufleet.wire.contract import LANES
from npufleet.wire.subject import PREFIX

if TYPE_CHECKING:
    from nats.aio.client import Client

FILE: Final = Path(__file__).with_name("streams.toml")
"""In the repository: broker/streams.toml."""

JOBS: Final = "JOBS"
RESULTS: Final = "RESULTS"
DEAD: Final = "DEAD"
EVENTS: Final = "EVENTS"
SCHEDULES: Final = "SCHEDULES"
GROUP: Final = "workers"
NANOSECONDS: Final = 1_000_000_000
_ANSWER_S: Final = 10.0
_NOT_FOUND: Final = 404

Configuration = dict[str, Any]


def streams(prefix: str = PREFIX) -> dict[str, Configuration]:
    """Return each stream's configuration by its name, in the order in which they can be created."""
    return {name: {"name": name, **_filled(row, prefix)} for name, row in _document()["streams"].items()}


def consumers(prefix: str = PREFIX) -> dict[str, Configuration]:
    """Return the configuration of each consumer of JOBS by its name, such as `job-normal`."""
    document = _document()
    return {
        f"{route}-{lane}": {
            **document["consumer"],
            "durable_name": f"{route}-{lane}",
            "filter_subject": subject.replace("{prefix}", prefix).replace("{lane}", lane),
        }
        for route, subject in document["consumers"].items()
        for lane in LANES
    }


async def create(client: Client, prefix: str = PREFIX, *, ack_wait: float | None = None) -> None:
    """Create what is missing, and leave alone what is there, whatever its limits.

    `ack_wait` (seconds) replaces the file's. Raises `UnavailableError` with the server's words.
    """
    for name, stream in streams(prefix).items():
        if not await _exists(client, f"STREAM.INFO.{name}"):
            await _request(client, f"STREAM.CREATE.{name}", stream)
    for name, consumer in consumers(prefix).items():
        if not await _exists(client, f"CONSUMER.INFO.{JOBS}.{name}"):
            if ack_wait is not None:
                consumer["ack_wait"] = round(ack_wait * NANOSECONDS)
            await _request(client, f"CONSUMER.CREATE.{JOBS}.{name}", {"stream_name": JOBS, "config": consumer})


async def _exists(client: Client, question: str) -> bool:
    answer = await _ask(client, question, b"")
    error = answer.get("error")
    if error is not None and error["code"] != _NOT_FOUND:
        raise UnavailableError(f"{question}: {error['description']}")
    return error is None


async def _request(client: Client, order: str, body: Configuration) -> None:
    answer = await _ask(client, order, json.dumps(body).encode())
    if "error" in answer:
        raise UnavailableError(f"{order}: {answer['error']['description']}")


async def _ask(client: Client, subject: str, body: bytes) -> dict[str, Any]:
    try:
        message = await client.request(f"$JS.API.{subject}", body, timeout=_ANSWER_S)
    except nats.errors.NoRespondersError as error:
        raise UnavailableError("the broker has no JetStream, so it takes no jobs") from error
    except (nats.errors.Error, OSError) as error:
        raise UnavailableError(f"{subject}: {error or type(error).__name__}") from error
    answer: dict[str, Any] = json.loads(message.data)
    return answer


def _document() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text("utf-8"))


def _filled(value: Any, prefix: str) -> Any:
    """Return a copy of a table with the prefix written into every text."""
    if isinstance(value, str):
        return value.replace("{prefix}", prefix)
    if isinstance(value, list):
        return [_filled(item, prefix) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, prefix) for name, item in value.items()}
    return value
