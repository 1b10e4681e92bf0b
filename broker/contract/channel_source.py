"""Golden messages and addresses of the ZeroMQ channel, written by `struct` alone; docs/channel.md has the bytes."""

from __future__ import annotations

import struct
from typing import Any

Json = dict[str, Any]

ARENA = bytes.fromhex("000102030405060708090a0b0c0d0eff")
KEY = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"  # the public key in zmq_curve's manual page
MOST = {2: 2**16 - 1, 4: 2**32 - 1, 8: 2**64 - 1}


def channel() -> dict[str, list[Json]]:
    requests, answers = _requests(), _answers()
    return {
        "requests": requests,
        "answers": answers,
        "invalid_requests": _invalid([case["hex"] for case in requests], answers[0]["hex"]),
        "invalid_answers": _invalid([case["hex"] for case in answers], requests[0]["hex"]),
        "addresses": _addresses(),
        "invalid_addresses": [{"text": text, "reason": reason} for text, reason in INVALID_ADDRESSES.items()],
    }


def _head(kind: int, transfer: int) -> bytes:
    return struct.pack("<4sB3xQ", b"npz1", kind, transfer)


def _requests() -> list[Json]:
    cases = []
    for name, transfer, slot, credit, generation, length, offset, patience in (
        ("a fetch", 1, 2, 8, 3, 4096, 0, 5_000_000),
        ("a fetch of nothing", 2, 0, 1, 1, 0, 0, 1),
        ("a fetch that goes on", 3, 7, 64, 2**40, 2**28, 2**20, 3_600_000_000),
        ("a fetch of the most", MOST[8], MOST[4], 64, MOST[8], 2**40, 2**40, 3_600_000_000),
    ):
        body = struct.pack("<16sIIQQQQ", ARENA, slot, credit, generation, length, offset, patience)
        fields = {"slot": slot, "credit": credit, "generation": generation, "length": length}
        more = {"arena": ARENA.hex(), "offset": offset, "patience": patience}
        cases.append(_case(name, "fetch", 1, transfer, body, **fields, **more))
    cases += [_case(f"credit of {n}", "more", 2, 5, struct.pack("<I4x", n), credit=n) for n in (1, 64)]
    cases.append(_case("a stop", "stop", 3, MOST[8], b""))
    for slot, generation in ((0, 1), (MOST[4], MOST[8])):
        body = struct.pack("<16sI4xQ", ARENA, slot, generation)
        fields = {"arena": ARENA.hex(), "slot": slot, "generation": generation}
        cases.append(_case(f"a release of slot {slot}", "release", 4, 0, body, **fields))
    return cases


def _answers() -> list[Json]:
    cases = []
    for name, transfer, offset, length in (
        ("the beginning", 1, 0, 4096),
        ("nothing", 2, 0, 0),
        ("the end of the most", MOST[8], 2**40, 2**40),
    ):
        cases.append(
            _case(name, "data", 129, transfer, struct.pack("<QQ", offset, length), offset=offset, length=length)
        )
    for refusal, code in (("invalid_frame", 400), ("payload_lost", 410), ("overloaded", 429)):
        cases.append(_case(refusal, "refused", 130, 9, struct.pack("<H6x", code), refusal=refusal))
    return cases


def _case(name: str, kind: str, number: int, transfer: int, body: bytes, **fields: int | str) -> Json:
    return {"name": name, "kind": kind, "transfer": transfer, **fields, "hex": (_head(number, transfer) + body).hex()}


def _invalid(valid: list[str], other_side: str) -> list[Json]:
    first = bytes.fromhex(valid[0])
    cases = [
        ("empty", b""),
        ("half a head", first[:9]),
        ("another magic", b"NPZ1" + first[4:]),
        ("another version", b"npz2" + first[4:]),
        ("kind 0", first[:4] + b"\0" + first[5:]),
        ("an unknown kind", first[:4] + b"\x7f" + first[5:]),
        ("a kind of the other side", bytes.fromhex(other_side)),
        ("something in reserved bytes", first[:5] + b"\1" + first[6:]),
    ]
    for text in valid:
        whole = bytes.fromhex(text)
        cases += [
            (f"kind {whole[4]} without its last byte", whole[:-1]),
            (f"kind {whole[4]} and a byte", whole + b"\0"),
        ]
    if first[4] == 1:
        cases += _invalid_values()
    else:
        cases += [
            ("data beyond its frame", _head(129, 1) + struct.pack("<QQ", 5, 4)),
            ("data of a frame above 2^40", _head(129, 1) + struct.pack("<QQ", 0, 2**40 + 1)),
            ("a refusal of another kind", _head(130, 1) + struct.pack("<H6x", 500)),
            ("a refusal with reserved bytes", _head(130, 1) + struct.pack("<HHI", 410, 1, 0)),
        ]
    return [{"name": name, "hex": content.hex()} for name, content in dict(cases).items()]


def _invalid_values() -> list[tuple[str, bytes]]:
    def fetch(credit: int = 8, length: int = 10, offset: int = 0, patience: int = 1) -> bytes:
        return _head(1, 1) + struct.pack("<16sIIQQQQ", ARENA, 0, credit, 1, length, offset, patience)

    return [
        ("a fetch without credit", fetch(credit=0)),
        ("a fetch with too much credit", fetch(credit=65)),
        ("a fetch above 2^40", fetch(length=2**40 + 1)),
        ("a fetch from behind the end", fetch(offset=11)),
        ("a fetch without patience", fetch(patience=0)),
        ("a fetch with too much patience", fetch(patience=3_600_000_001)),
        ("no more credit", _head(2, 1) + struct.pack("<I4x", 0)),
        ("too much more credit", _head(2, 1) + struct.pack("<I4x", 65)),
        ("more credit with reserved bytes", _head(2, 1) + struct.pack("<II", 1, 1)),
        ("a release of a transfer", _head(4, 1) + struct.pack("<16sI4xQ", ARENA, 0, 1)),
        ("a release with reserved bytes", _head(4, 0) + struct.pack("<16sIIQ", ARENA, 0, 1, 1)),
    ]


def _addresses() -> list[Json]:
    return [
        {"text": f"{endpoint}{';' + key if key else ''}", "endpoint": endpoint, "key": key}
        for endpoint in (
            "tcp://127.0.0.1:1",
            "tcp://10.0.0.255:65535",
            "tcp://[::1]:5555",
            "tcp://[fe80::1:2.3.4.5]:80",
        )
        for key in (None, KEY)
    ]


INVALID_ADDRESSES = {
    "": "empty",
    "127.0.0.1:1": "no transport",
    "ipc:///tmp/x": "another transport",
    "inproc://x": "another transport",
    "TCP://127.0.0.1:1": "upper case",
    "tcp://localhost:1": "a name",
    "tcp://*:1": "a wildcard",
    "tcp://127.0.0.1": "no port",
    "tcp://127.0.0.1:": "empty port",
    "tcp://127.0.0.1:0": "port 0",
    "tcp://127.0.0.1:65536": "port too large",
    "tcp://127.0.0.1:007": "leading zeros",
    "tcp://127.0.0.1:*": "any port",
    "tcp://127.0.0:1111": "three numbers",
    "tcp://127.0.0.256:1": "a number too large",
    "tcp://127.0.0.01:1": "a leading zero",
    "tcp://[127.0.0.1]:1": "IPv4 in brackets",
    "tcp://::1:5555": "IPv6 without brackets",
    "tcp://[::1%lo]:5555": "a scope",
    "tcp://[::g]:5555": "no hexadecimal digit",
    "tcp://[1::2::3]:5555": "two gaps",
    "tcp://127.0.0.1:1;": "empty key",
    f"tcp://127.0.0.1:1;{KEY[:-1]}": "key too short",
    f"tcp://127.0.0.1:1;{KEY}0": "key too long",
    f"tcp://127.0.0.1:1;{KEY[:-1]} ": "a space in the key",
    f"tcp://127.0.0.1:1;{KEY[:-1]}~": "a character that Z85 has not",
    f"tcp://127.0.0.1:1;{KEY};{KEY}": "two keys",
    f"tcp://127.0.0.1:1 ;{KEY}": "a space",
    " tcp://127.0.0.1:1": "a space in front",
    "tcp://127.0.0.1:1\n": "a line feed at the end",
    "tcp://127.0.0.1:1/x": "a path",
    "tcp://eth0;127.0.0.1:1": "a source address",
}
