"""The few requests to JetStream that durable jobs are made of, with what can go wrong as types.

nats-py's own context hides the server's error codes behind texts and knows neither atomic batches nor priorities.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.errors import OverloadedError, UnavailableError, UnknownOutcomeError
from npufleet.transport import NO_RESPONDERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.transport import Flight

WRONG_LAST_SEQUENCE: Final = 10071
STORE_FAILED: Final = 10077
DUPLICATE_IN_BATCH: Final = 10201
PER_SUBJECT: Final = "per subject"
FULL: Final = frozenset({STORE_FAILED, 10002, 10023, 10047})
"""Codes with which a stream, its account or its server says that there is no room."""

EXPECTED_STREAM: Final = "Nats-Expected-Stream"
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
GONE: Final = frozenset({"404", "408"})


class AlreadyThereError(Exception):
    """A compare-and-set found another message on the subject."""


class RefusedError(UnavailableError):
    """JetStream says no; `err_code` is the server's word for why, None when it has none."""

    def __init__(self, message: str, err_code: int | None) -> None:
        super().__init__(message)
        self.err_code = err_code


@dataclass(frozen=True, slots=True)
class Stored:
    """One message as a stream holds it; `time` is the server's, in RFC 3339."""

    subject: str
    headers: dict[str, str]
    data: bytes
    sequence: int
    time: str


async def publish(
    client: Client, stream: str, subject: str, payload: bytes, headers: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    """Store a message and return the server's acknowledgement.

    Raises `AlreadyThereError` when a compare-and-set fails, `OverloadedError` when the stream is full,
    `UnavailableError` when there is no such stream or no connection, and `UnknownOutcomeError` when no answer came.
    """
    if not client.is_connected:
        raise UnavailableError("the connection to the broker is lost")
    try:
        message = await client.request(subject, payload, timeout=seconds, headers=dict(headers))
    except nats.errors.NoRespondersError as error:
        raise _no_stream(stream) from error
    except nats.errors.MaxPayloadError as error:
        raise UnavailableError(f"{subject}: {error}") from error
    except (nats.errors.Error, OSError) as error:
        raise UnknownOutcomeError(f"no answer from the stream {stream}: {error or type(error).__name__}") from error
    return checked(stream, message.data)


async def acknowledgement(flight: Flight, stream: str) -> dict[str, Any]:
    """Return the server's acknowledgement of a message that a transport sent; raises what `publish` raises."""
    await flight
    if flight.status == NO_RESPONDERS:
        raise _no_stream(stream)
    return checked(stream, bytes(flight.payload))


def checked(stream: str, answer: bytes) -> dict[str, Any]:
    """Return the server's acknowledgement, or raise what `publish` raises for the error in it."""
    said: dict[str, Any] = json.loads(answer)
    if "error" not in said:
        return said
    code, text = said["error"].get("err_code"), said["error"].get("description", "")
    if code == WRONG_LAST_SEQUENCE or (code == STORE_FAILED and PER_SUBJECT in text):
        raise AlreadyThereError(text)
    if code in FULL:
        raise OverloadedError(f"the stream {stream} takes no more: {text}")
    if code == DUPLICATE_IN_BATCH:
        raise AlreadyThereError(text)
    raise UnavailableError(f"the stream {stream} refuses: {text}")


async def last(client: Client, stream: str, subject: str, seconds: float) -> Stored | None:
    """Return the last message on a subject of a stream, None when there is none.

    Raises `UnavailableError` when the stream does not answer.
    """
    try:
        message = await client.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", timeout=seconds)
    except nats.errors.NoRespondersError as error:
        raise _no_stream(stream) from error
    except (nats.errors.Error, OSError) as error:
        raise UnavailableError(f"no answer from the stream {stream}: {error or type(error).__name__}") from error
    return stored(message)


async def scan(client: Client, stream: str, question: Mapping[str, Any], seconds: float) -> list[Stored]:
    """Return what a direct get for many messages finds (`batch`, `next_by_subj`, `multi_last`), none included.

    Raises `UnavailableError` when the stream does not answer.
    """
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await client.subscribe(client.new_inbox(), cb=arrived.put)
    found: list[Stored] = []
    try:
        body = json.dumps(question).encode()
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", body, reply=subscription.subject)
        while True:
            message = await asyncio.wait_for(arrived.get(), seconds)
            status = (message.headers or {}).get("Status")
            if status == str(NO_RESPONDERS):
                raise _no_stream(stream)
            if status is not None:
                return found
            one = stored(message)
            if one is not None:
                found.append(one)
    except (nats.errors.Error, OSError) as error:
        raise UnavailableError(f"no answer from the stream {stream}: {error or type(error).__name__}") from error
    finally:
        if not client.is_closed:
            await subscription.unsubscribe()


async def ask(client: Client, question: str, body: Mapping[str, Any] | None, seconds: float) -> dict[str, Any]:
    """Return the answer of JetStream's API.

    Raises `RefusedError` with its words when it is an error, `UnavailableError` when there is none.
    """
    try:
        request = b"" if body is None else json.dumps(body).encode()
        message = await client.request(f"$JS.API.{question}", request, timeout=seconds)
    except nats.errors.NoRespondersError as error:
        raise UnavailableError("the broker has no JetStream, so it takes no jobs") from error
    except (nats.errors.Error, OSError) as error:
        raise UnavailableError(f"{question}: {error or type(error).__name__}") from error
    answer: dict[str, Any] = json.loads(message.data)
    if refusal := answer.get("error"):
        raise RefusedError(f"{question}: {refusal['description']}", refusal.get("err_code"))
    return answer


def stored(message: Msg) -> Stored | None:
    """Read the answer to a direct get; None when it says that there is no such message."""
    headers: dict[str, str] = dict(message.headers or {})
    if headers.get("Status") in GONE:
        return None
    return Stored(
        subject=headers.get("Nats-Subject", ""),
        headers=headers,
        data=message.data,
        sequence=int(headers.get("Nats-Sequence", "0")),
        time=headers.get("Nats-Time-Stamp", ""),
    )


def _no_stream(stream: str) -> UnavailableError:
    return UnavailableError(f"the broker has no stream {stream}; `npufleet queues create` makes it")
