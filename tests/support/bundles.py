"""Bundles of messages as docs/contract.md has them, for tests that play a worker or a caller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nats.aio.msg import Msg

BUNDLE, LIMIT = "Npu-Bundle", "Npu-Bundle-Limit"
_LINE = re.compile(rb"(H?)PUB (\S+)(?: (\S+))??(?: (\d+))? (\d+)\r\n")


class Part(NamedTuple):
    subject: str
    reply: str
    headers: dict[str, str]
    payload: bytes


def bundle(parts: list[Part]) -> bytes:
    """Return the payload of a bundle."""
    return b"".join(map(_operation, parts))


def parts(message: Msg) -> list[Part]:
    """Return the messages of a bundle, or the message itself when it is none."""
    if BUNDLE not in (message.headers or {}):
        return [Part(message.subject, message.reply, dict(message.headers or {}), message.data)]
    found, rest = [], message.data
    while rest:
        line = _LINE.match(rest)
        assert line is not None, rest[:80]
        has_headers, subject, reply, header_size, size = line.groups()
        assert bool(has_headers) == bool(header_size), line.group()
        block, end = int(header_size or 0), line.end() + int(size)
        body, rest = rest[line.end() : end], rest[end:].removeprefix(b"\r\n")
        lines = body[:block].decode().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if line)
        found.append(Part(subject.decode(), (reply or b"").decode(), headers, body[block:]))
    assert len(found) == int(message.headers[BUNDLE])
    return found


def _operation(part: Part) -> bytes:
    words = " ".join(word for word in (part.subject, part.reply) if word)
    if not part.headers:
        return f"PUB {words} {len(part.payload)}\r\n".encode() + part.payload + b"\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in part.headers.items())
    block = f"NATS/1.0\r\n{lines}\r\n".encode()
    sizes = f"{len(block)} {len(block) + len(part.payload)}"
    return f"HPUB {words} {sizes}\r\n".encode() + block + part.payload + b"\r\n"
