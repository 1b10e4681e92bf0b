"""Frames of jobs that are too large for a message: in pieces, in the stream PAYLOADS, each under a subject of its own.

Not NATS's object store: there all pieces of an object share one subject, so whoever may read one object may read every
other one. Here a job's id, which nobody can guess, is part of the subject.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from npufleet.errors import PayloadLostError
from npufleet.transport import jetstream
from npufleet.transport.together import together
from npufleet.wire import job
from npufleet.wire.contract import VERSION

if TYPE_CHECKING:
    from nats.aio.client import Client

STREAM: Final = "PAYLOADS"
PIECE: Final = job.INLINE_BYTES
AT_ONCE: Final = 8
ANSWER_S: Final = 10.0
RESULT_TTL: Final = "168h"
"""As long as the stream RESULTS keeps a result."""

INPUT: Final = "in"
_PATH: Final = r"[A-Za-z0-9_-]{1,64}\.(?:in|out\.[0-9a-f]{1,64})"
_PATTERN: Final = re.compile(f"npu1:({_PATH}):([0-9]{{1,5}}):([0-9]{{1,13}}):([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a frame lies: `npu1:<path>:<pieces>:<bytes>:<sha256>`.

    A path is `<job id>.in` or `<job id>.out.<random>`.
    """

    path: str
    pieces: int
    size: int
    digest: str

    def __str__(self) -> str:
        return f"npu1:{self.path}:{self.pieces}:{self.size}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a header's value; raises `PayloadLostError` when it is none."""
        found = _PATTERN.fullmatch(text)
        if found is None or -(-int(found[3]) // PIECE) != int(found[2]):
            raise PayloadLostError(f"'{text:.80}' is no reference to a payload")
        return cls(found[1], int(found[2]), int(found[3]), found[4])

    def subject(self, piece: int | str, prefix: str) -> str:
        """Return where one piece is, or with `*` all of them."""
        return f"{prefix}.v{VERSION}.payload.{self.path}.{piece}"


def reference(path: str, data: bytes) -> Reference:
    """Return the reference that `data` has under a path."""
    return Reference(path, -(-len(data) // PIECE), len(data), hashlib.sha256(data).hexdigest())


async def put(client: Client, prefix: str, path: str, data: bytes, *, ttl: str | None = None) -> Reference:
    """Store a frame and return its reference; what is stored already is left as it is.

    Raises `OverloadedError` when there is no room, `UnavailableError` or `UnknownOutcomeError` without a broker.
    """
    made = await asyncio.to_thread(reference, path, data)
    headers = {} if ttl is None else {"Nats-TTL": ttl}

    async def one(number: int) -> None:
        piece = data[number * PIECE : (number + 1) * PIECE]
        try:
            await jetstream.publish(client, STREAM, made.subject(number, prefix), piece, headers, ANSWER_S)
        except jetstream.AlreadyThereError:
            return  # an earlier try's

    await together(one, range(made.pieces), AT_ONCE)
    return made


async def get(client: Client, prefix: str, text: str) -> bytes:
    """Return the frame that a header refers to; raises `PayloadLostError` when it is gone or not what it was."""
    wanted = Reference.parse(text)
    pieces = [b""] * wanted.pieces

    async def one(number: int) -> None:
        found = await jetstream.last(client, STREAM, wanted.subject(number, prefix), ANSWER_S)
        if found is None:
            raise PayloadLostError(f"piece {number} of {wanted.pieces} of the payload {wanted.path} is gone")
        pieces[number] = found.data

    await together(one, range(wanted.pieces), AT_ONCE)
    data = b"".join(pieces)
    digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    if len(data) != wanted.size or digest != wanted.digest:
        raise PayloadLostError(f"the payload {wanted.path} is not what was stored: size or digest differ")
    return data


async def remove(client: Client, prefix: str, text: str) -> None:
    """Remove a frame; one that is gone already is no error. Raises `UnavailableError` without a broker."""
    body = {"filter": Reference.parse(text).subject("*", prefix)}
    await jetstream.ask(client, f"STREAM.PURGE.{STREAM}", body, ANSWER_S)
