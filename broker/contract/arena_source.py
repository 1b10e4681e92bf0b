"""Golden arenas, written by `struct` alone: file headers, table entries, and what a reader makes of claims.

A case of `claims` describes a file: its first bytes, some of its table's entries, its length, and what lies where in
it. Everything else in the file is zero. `outcome` is `ok` (with the bytes that are read), `elsewhere` (the arena is not
here), or the kind of the error. docs/arena.md has the bytes.
"""

from __future__ import annotations

import struct
from typing import Any

Json = dict[str, Any]

ID = bytes.fromhex("000102030405060708090a0b0c0d0eff")
OTHER = bytes.fromhex("ff0102030405060708090a0b0c0d0eff")
SLOTS, TABLE, ENTRY, DATA = 16384, 4096, 32, 528384
SMALLEST, LARGEST, LIMIT = 4096, 2**28, 2**30
FRAME = bytes(range(100, 164))


def arena() -> dict[str, list[Json]]:
    return {"headers": _headers(), "entries": _entries(), "claims": [*_good(), *_elsewhere(), *_wrong(), *_lost()]}


def _header(
    magic: bytes = b"npuarena",
    version: int = 1,
    slots: int = SLOTS,
    identity: bytes = ID,
    data: int = DATA,
    limit: int = LIMIT,
) -> bytes:
    return struct.pack("<8sII16sQQ", magic, version, slots, identity, data, limit)


def _entry(start: int = DATA, capacity: int = SMALLEST, generation: int = 1, receiver: int = 0) -> bytes:
    return struct.pack("<QQQQ", start, capacity, generation, receiver)


def _headers() -> list[Json]:
    return [
        {"name": name, "id": identity.hex(), "limit": limit, "hex": _header(identity=identity, limit=limit).hex()}
        for name, identity, limit in (
            ("as it is by default", ID, LIMIT),
            ("a small one", OTHER, DATA + SMALLEST),
            ("the largest there can be", bytes(16), 2**64 - 1),
        )
    ]


def _entries() -> list[Json]:
    return [
        {
            "name": name,
            "slot": slot,
            "at": TABLE + ENTRY * slot,
            "start": start,
            "capacity": capacity,
            "generation": generation,
            "receiver": receiver,
            "hex": _entry(start, capacity, generation, receiver).hex(),
        }
        for name, slot, start, capacity, generation, receiver in (
            ("never used", 0, DATA, SMALLEST, 0, 0),
            ("a frame that nobody took", 1, DATA + SMALLEST, 2 * SMALLEST, 1, 0),
            ("taken", 2, DATA + 8 * SMALLEST, LARGEST, 5, 10),
            ("released", 3, DATA, SMALLEST, 5, 11),
            ("the last one", SLOTS - 1, DATA, SMALLEST, 2**63 - 1, 2**64 - 1),
        )
    ]


def _case(
    name: str,
    outcome: str,
    slot: int = 3,
    entry: bytes | None = None,
    header: bytes | None = None,
    size: int = DATA + SMALLEST,
    claim: str | None = None,
    generation: int = 1,
    length: int = len(FRAME),
) -> Json:
    entry = _entry() if entry is None else entry
    return {
        "name": name,
        "header": (_header() if header is None else header).hex(),
        "entries": [] if slot >= SLOTS else [{"slot": slot, "hex": entry.hex()}],
        "size": size,
        "content": [] if size < DATA + len(FRAME) else [{"at": DATA, "hex": FRAME.hex()}],
        "claim": f"npu1:{ID.hex()}:{slot}:{generation}:{length}" if claim is None else claim,
        "outcome": outcome,
        "hex": FRAME[:length].hex() if outcome == "ok" else None,
    }


def _good() -> list[Json]:
    return [
        _case("a frame", "ok"),
        _case("half of it", "ok", length=32),
        _case("no byte of it", "ok", length=0),
        _case("slot 0", "ok", slot=0),
        _case("the last slot", "ok", slot=SLOTS - 1),
        _case("a late generation", "ok", entry=_entry(generation=2**63 - 1), generation=2**63 - 1),
        _case("taken already", "ok", entry=_entry(generation=5, receiver=10), generation=5),
        _case("the file ends with the frame", "ok", size=DATA + len(FRAME)),
        _case("an arena that may not grow", "ok", header=_header(limit=0)),
    ]


def _elsewhere() -> list[Json]:
    return [
        _case("no magic", "elsewhere", header=bytes(48)),
        _case("another magic", "elsewhere", header=_header(magic=b"NPUARENA")),
        _case("another version", "elsewhere", header=_header(version=2)),
        _case("another number of entries", "elsewhere", header=_header(slots=SLOTS - 1)),
        _case("data from somewhere else", "elsewhere", header=_header(data=DATA + SMALLEST)),
        _case("the id of another arena inside", "elsewhere", header=_header(identity=OTHER)),
        _case("the id of another arena in the claim", "elsewhere", claim=f"npu1:{OTHER.hex()}:3:1:64"),
        _case("the table's last byte is missing", "elsewhere", slot=0, size=DATA - 1),
        _case("a header and no more", "elsewhere", size=48),
    ]


def _wrong() -> list[Json]:
    return [
        _case("no claim at all", "invalid_frame", claim="hello"),
        _case("a claim of another version", "invalid_frame", claim=f"npu2:{ID.hex()}:3:1:64"),
        _case("a slot that the table has not", "invalid_frame", slot=SLOTS),
        _case("the highest slot", "invalid_frame", slot=2**32 - 1),
        _case("a slot that was never made", "invalid_frame", entry=bytes(32)),
        _case("inside of the table", "invalid_frame", entry=_entry(start=TABLE)),
        _case("just before the data", "invalid_frame", entry=_entry(start=DATA - SMALLEST)),
        _case("not at a multiple of 4096", "invalid_frame", entry=_entry(start=DATA + 8)),
        _case("no capacity", "invalid_frame", entry=_entry(capacity=0), length=0),
        _case("a capacity too small", "invalid_frame", entry=_entry(capacity=2048)),
        _case("a capacity too large", "invalid_frame", entry=_entry(capacity=2 * LARGEST)),
        _case("a capacity that is no power of two", "invalid_frame", entry=_entry(capacity=SMALLEST + 8)),
        _case("the largest capacity of all", "invalid_frame", entry=_entry(capacity=2**64 - 1)),
        _case("longer than the slot", "invalid_frame", length=SMALLEST + 1),
        _case("as long as claims can be", "invalid_frame", length=2**40),
    ]


def _lost() -> list[Json]:
    return [
        _case("the generation before", "payload_lost", entry=_entry(generation=2)),
        _case("the generation after", "payload_lost", generation=2),
        _case("the highest generation", "payload_lost", generation=2**64 - 1),
        _case("nothing yet", "payload_lost", entry=_entry(generation=0), generation=0),
        _case("the file ends before the frame", "payload_lost", size=DATA),
        _case("the file ends inside of the frame", "payload_lost", size=DATA + len(FRAME) - 1),
        _case("a slot far behind the end", "payload_lost", entry=_entry(start=2**40)),
        _case("a slot at the end of all numbers", "payload_lost", entry=_entry(start=2**64 - SMALLEST)),
    ]
