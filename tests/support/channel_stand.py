"""Owners and askers of the payload channel in either engine, and one of each as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from npufleet.errors import PayloadLostError, UnavailableError
from npufleet.payload.channel.address import Address
from npufleet.payload.channel.asker import Asker
from npufleet.payload.channel.endpoint import LOOPBACK, Endpoint
from npufleet.payload.channel.message import CHUNK_BYTES
from npufleet.payload.channel.owner import Owner
from npufleet.wire.claim import Claim
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ARENA = bytes(range(16))
LIMIT = 2**30
SMALL, LARGE = 1, 2
"""Slots that a process of its own lends: 5000 bytes, and 40 chunks and a bit."""


def pattern(size: int) -> bytes:
    """Bytes of which no two chunks are alike."""
    block = bytes(range(251))
    return (block * (size // len(block) + 1))[:size]


def claim(slot: int, size: int, generation: int = 1) -> Claim:
    return Claim(ARENA, slot, generation, size)


class Shelf:
    """Frames by slot, each of generation 1; both engines lend from it."""

    arena = ARENA

    def __init__(self) -> None:
        self.frames: dict[int, bytes] = {}
        self.released: list[int] = []

    def put(self, slot: int, size: int) -> Claim:
        self.frames[slot] = pattern(size)
        return claim(slot, size)

    def borrow(self, slot: int, generation: int, length: int) -> bytes:
        frame = self.frames.get(slot)
        if frame is None or generation != 1 or length != len(frame):
            raise PayloadLostError("the slot holds another frame")
        return frame

    def release(self, slot: int, generation: int) -> None:
        if generation == 1 and self.frames.pop(slot, None) is not None:
            self.released.append(slot)


class PureSource:
    """The shelf as the pure engine's owner wants it."""

    arena = ARENA

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.release = shelf.release

    def borrow(self, wanted: Claim) -> memoryview:
        return memoryview(self.shelf.borrow(wanted.slot, wanted.generation, wanted.length))


class Fetcher(Protocol):
    """An asker of either engine, in words."""

    def fetch(self, address: str, claim: str, *, limit: int, timeout: float, release: bool = False) -> Any: ...


class PureFetcher:
    def __init__(self, asker: Asker) -> None:
        self.asker = asker

    def fetch(self, address: str, claim: str, *, limit: int, timeout: float, release: bool = False) -> memoryview:
        where, what = Address.parse(address), Claim.parse(claim)
        return self.asker.fetch(where, what, limit=limit, timeout=timeout, release=release)


@contextmanager
def owner(engine: str, shelf: Shelf, security: str = "auto", endpoint: str | None = None) -> Iterator[str]:
    """Lend a shelf; gives the address in words."""
    if engine == "rust":
        from npufleet import _native

        compiled = _native.ChannelOwner(endpoint, security)
        compiled.add(shelf)
        try:
            yield compiled.address
        finally:
            compiled.close()
    else:
        with Owner(Endpoint.parse(endpoint) if endpoint else LOOPBACK, security) as pure:
            pure.add(PureSource(shelf))
            yield str(pure.address)


@contextmanager
def owner_again(engine: str, shelf: Shelf, address: str) -> Iterator[None]:
    """Lend at an address that was closed a moment ago: libzmq closes a socket a little after it was told to."""

    def opened() -> bool:
        try:
            stack.enter_context(owner(engine, shelf, "auto", address))
        except UnavailableError:
            return False
        return True

    with ExitStack() as stack:
        wait_until(opened, "the port to be free")
        yield


@contextmanager
def asker(engine: str) -> Iterator[Fetcher]:
    if engine == "rust":
        from npufleet import _native

        yield _native.ChannelAsker()
    else:
        with Asker() as pure:
            yield PureFetcher(pure)


def fetch(fetcher: Fetcher, address: str, wanted: Claim, timeout: float = 20, *, release: bool = False) -> bytes:
    return bytes(fetcher.fetch(address, str(wanted), limit=LIMIT, timeout=timeout, release=release))


@contextmanager
def peer(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run this file as a process of its own; gives it and the first line it said, read as JSON."""
    command = [sys.executable, "-m", "tests.support.channel_stand", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def main() -> None:
    """`owner <engine> <security> [<endpoint>]` lends, `asker <engine> <address>` fetches, until standard input ends."""
    role, engine, what, *more = sys.argv[1:]
    if role == "owner":
        shelf = Shelf()
        claims = [str(shelf.put(SMALL, 5000)), str(shelf.put(LARGE, 40 * CHUNK_BYTES + 77))]
        with owner(engine, shelf, what, *more) as address:
            print(json.dumps({"address": address, "claims": claims}), flush=True)
            sys.stdin.read()
    else:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
        with asker(engine) as fetcher:
            fetch(fetcher, what, claim(SMALL, 5000))
            print(json.dumps({"begun": time.time()}), flush=True)
            while True:
                fetch(fetcher, what, claim(LARGE, 40 * CHUNK_BYTES + 77))


if __name__ == "__main__":
    main()
