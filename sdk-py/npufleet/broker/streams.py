"""The streams and consumers of durable jobs: read from streams.toml, created where they are missing."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from npufleet.transport import jetstream
from npufleet.transport.together import together
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
PAYLOADS: Final = "PAYLOADS"
FLOWS: Final = "FLOWS"
GROUP: Final = "workers"
_CONSUMERS: Final = {JOBS: "consumers", FLOWS: "coordinators"}
NANOSECONDS: Final = 1_000_000_000
_ANSWER_S: Final = 10.0

Configuration = dict[str, Any]


def streams(prefix: str = PREFIX) -> dict[str, Configuration]:
    """Return each stream's configuration by its name, in the order in which they can be created."""
    return {name: {"name": name, **_filled(row, prefix)} for name, row in _document()["streams"].items()}


def consumers(prefix: str = PREFIX, stream: str = JOBS) -> dict[str, Configuration]:
    """Return the configuration of each consumer of JOBS, or of FLOWS, by its name, such as `job-normal`."""
    document = _document()
    return {
        f"{route}-{lane}": {
            **document["consumer"],
            "durable_name": f"{route}-{lane}",
            "filter_subject": subject.replace("{prefix}", prefix).replace("{lane}", lane),
        }
        for route, subject in document[_CONSUMERS[stream]].items()
        for lane in LANES
    }


async def create(client: Client, prefix: str = PREFIX, *, ack_wait: float | None = None, replicas: int = 1) -> None:
    """Create what is missing, and leave alone what is there, whatever its limits.

    `ack_wait` (seconds) replaces the file's; `replicas` is how many nodes of a cluster keep a copy. Raises
    `UnavailableError` with the server's words.
    """
    there = await _names(client, "STREAM.NAMES", "streams")
    for name, stream in streams(prefix).items():
        if name not in there:
            if replicas > 1:
                stream["num_replicas"] = replicas
                # Copies are written before they are acknowledged, whatever the stream says.
                stream.pop("persist_mode", None)
            await jetstream.ask(client, f"STREAM.CREATE.{name}", stream, _ANSWER_S)
    for taken in _CONSUMERS:
        await _create_consumers(client, taken, consumers(prefix, taken), ack_wait)


async def _create_consumers(
    client: Client, stream: str, wanted: dict[str, Configuration], ack_wait: float | None
) -> None:
    there = await _names(client, f"CONSUMER.NAMES.{stream}", "consumers")

    async def make(name: str) -> None:
        consumer = wanted[name]
        if ack_wait is not None:
            consumer["ack_wait"] = round(ack_wait * NANOSECONDS)
        body = {"stream_name": stream, "config": consumer}
        await jetstream.ask(client, f"CONSUMER.CREATE.{stream}.{name}", body, _ANSWER_S)

    await together(make, wanted.keys() - there, len(wanted))


async def _names(client: Client, question: str, key: str) -> set[str]:
    answer = await jetstream.ask(client, question, None, _ANSWER_S)
    return set(answer[key] or ())


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
