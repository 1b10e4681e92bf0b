"""Arenas of a test's own: a folder, an owner, a reader, and files that are described byte by byte."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from npufleet.errors import FleetError
from npufleet.payload import layout
from npufleet.payload.peers import ElsewhereError
from npufleet.wire.claim import Claim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INLINE_BYTES = {"native": 4096, "pure": layout.INLINE_BYTES}
"""From how many bytes on a frame is placed, by transport."""

IDENTITY = bytes.fromhex("000102030405060708090a0b0c0d0eff")


def folder_in(path: Path) -> Path:
    """A folder as arenas want it."""
    made = path / f"npufleet-{os.getuid()}"
    made.mkdir(mode=0o700, exist_ok=True)
    return made


def write_case(folder: Path, case: dict[str, Any], name: str = IDENTITY.hex()) -> Path:
    """Write the file that a golden case describes."""
    file = folder / name
    file.touch(mode=0o600)
    with file.open("r+b") as stream:
        stream.write(bytes.fromhex(case["header"]))
        for entry in case["entries"]:
            stream.seek(layout.TABLE_AT + layout.ENTRY_BYTES * entry["slot"])
            stream.write(bytes.fromhex(entry["hex"]))
        for piece in case["content"]:
            stream.seek(piece["at"])
            stream.write(bytes.fromhex(piece["hex"]))
        stream.truncate(case["size"])
    return file


def outcome(read: Callable[[Claim], bytes], text: str) -> tuple[str, bytes | None]:
    """What a claim gives, in the words of the golden cases."""
    try:
        return "ok", read(Claim.parse(text))
    except ElsewhereError:
        return "elsewhere", None
    except FleetError as error:
        return error.kind, None


def receiver(folder: Path, claim: Claim) -> int:
    """The receiver's word of a slot."""
    with (folder / claim.arena.hex()).open("rb") as stream:
        stream.seek(layout.receiver_at(claim.slot))
        return layout.word_of(stream.read(8))
