"""Golden bundles: messages that travel as one, and what a receiver reads of them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
Part = tuple[str, str | None, list[tuple[str, str]], str]
CALL = "npu.v1.call.normal.echo"


def bundles() -> Json:
    return {"valid": valid(), "invalid": invalid()}


def operation(subject: str, reply: str | None, headers: list[tuple[str, str]], payload: str) -> str:
    """Return a publish operation of the NATS client protocol."""
    words = [subject] if reply is None else [subject, reply]
    if not headers:
        return f"PUB {' '.join(words)} {len(payload)}\r\n{payload}\r\n"
    block = "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    return f"HPUB {' '.join(words)} {len(block)} {len(block) + len(payload)}\r\n{block}{payload}\r\n"


def valid() -> list[Json]:
    def case(name: str, subject: str, parts: list[Part]) -> Json:
        keys = ("subject", "reply", "headers", "payload")
        payload = "".join(operation(*part) for part in parts)
        return {"name": name, "subject": subject, "payload": payload,
                "parts": [dict(zip(keys, part, strict=True)) for part in parts]}  # fmt: skip

    def request(number: int, payload: str) -> Part:
        return CALL, f"_INBOX.abc.{number}", [("Npu-Deadline", "1700000000000000")], payload

    def answer(number: int, payload: str) -> Part:
        return f"_INBOX.abc.{number}", None, [("Npu-Engine", "rust"), ("Npu-Device", "CPU")], payload

    return [
        case("two requests", CALL, [request(1, "one"), request(2, "two")]),
        case("requests without headers", CALL, [(CALL, "r.1", [], "one"), (CALL, "r.2", [], "two")]),
        case("empty payloads", CALL, [request(1, ""), (CALL, "r.2", [], ""), request(3, "")]),
        case("line ends in a payload", CALL, [request(1, "\r\nPUB x 1\r\n"), request(2, "\n")]),
        case("answers", "_INBOX.abc.bundle", [answer(7, "one"), answer(3, "two"), answer(12, "")]),
        case("64 parts", CALL, [request(number, "x" * number) for number in range(64)]),
    ]


def invalid() -> list[Json]:
    one, two = operation(CALL, "r.1", [], "one"), operation(CALL, "r.2", [], "two")
    answer = operation("_INBOX.abc.1", None, [], "one")

    def case(name: str, count: int, payload: str, subject: str = CALL) -> Json:
        return {"name": name, "subject": subject, "count": count, "payload": payload}

    return [
        case("no payload", 2, ""),
        case("fewer parts than said", 3, one + two),
        case("more parts than said", 1, one + two),
        case("more than 64 parts", 65, one * 65),
        case("a part to another subject", 2, one + operation("npu.v1.call.normal.fft", "r.2", [], "two")),
        case("an answer to another inbox", 2, answer + operation("_INBOX.xyz.2", None, [], "two"), "_INBOX.abc.bundle"),
        case("an answer on the subject of requests", 2, one + operation("npu.v1.call.low.echo", None, [], "two")),
        case("cut in a payload", 2, (one + two)[:-3]),
        case("cut in the last line end", 2, (one + two)[:-1]),
        case("cut in a line", 2, one + two[:7]),
        case("another operation", 2, one + "SUB a 1\r\n"),
        case("a size that is no number", 2, one + f"PUB {CALL} r.2 x\r\nabc\r\n"),
        case("a size beyond the message", 2, one + f"PUB {CALL} r.2 999999999999999999\r\nabc\r\n"),
        case("more headers than bytes", 2, one + f"HPUB {CALL} r.2 4 3\r\nabc\r\n"),
        case("too many words", 2, one + f"PUB {CALL} r.2 r.3 3\r\nabc\r\n"),
    ]
