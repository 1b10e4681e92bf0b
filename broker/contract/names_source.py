"""Golden subjects and claims, valid and invalid."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
LANES = ("realtime", "critical", "high", "normal", "low")
LONGEST = "a" * 64
ARENA = "00112233445566778899aabbccddeeff"


def subjects() -> Json:
    valid = []
    for route in ("call", "fallback"):
        for lane in LANES:
            valid.append(_subject(f"npu.v1.{route}.{lane}.fft", route, lane, "fft"))
            valid.append(_subject(f"npu.v1.{route}.{lane}.infer.mlp", route, lane, "infer", "mlp"))
    valid.append(_subject("npu.v1.call.normal.echo", "call", "normal", "echo"))
    valid.append(_subject("npu.v1.call.normal.not_ours", "call", "normal", "not_ours"))
    for name in ("0", "a-b_c", LONGEST, "9z"):
        valid.append(_subject(f"npu.v1.call.low.{name}", "call", "low", name))
        valid.append(_subject(f"npu.v1.call.low.infer.{name}", "call", "low", "infer", name))
    invalid = {
        "": "empty",
        "npu": "prefix only",
        "npu.v1.call": "no lane",
        "npu.v1.call.normal": "no operation",
        "npu.v1.call.normal.": "empty operation",
        "npu.v1.call..fft": "empty lane",
        "npu.v1..normal.fft": "empty route",
        "npu.v1.call.normal.fft.": "empty model",
        "npu.v1.call.normal.fft.mlp": "a model, but fft runs none",
        "npu.v1.call.normal.infer": "no model, but infer runs one",
        "npu.v1.call.normal.infer.": "empty model for infer",
        "npu.v1.call.normal.infer.mlp.1": "too many tokens",
        "npu.v1.call.urgent.fft": "unknown lane",
        "npu.v1.call.Normal.fft": "upper-case lane",
        "npu.v1.job.normal.fft": "no route of calls",
        "npu.v1.CALL.normal.fft": "upper-case route",
        "npu.v2.call.normal.fft": "another version",
        "npu.call.normal.fft": "no version",
        "gpu.v1.call.normal.fft": "another prefix",
        "npu.v1.call.normal.FFT": "upper-case operation",
        "npu.v1.call.normal._fft": "starts with an underscore",
        "npu.v1.call.normal.-fft": "starts with a hyphen",
        "npu.v1.call.normal.f t": "a space",
        "npu.v1.call.normal.fft\n": "a line feed at the end",
        "npu.v1.call.normal.größe": "beyond ASCII",
        "npu.v1.call.normal.٣": "a digit beyond ASCII",
        f"npu.v1.call.normal.{LONGEST}a": "operation of 65 characters",
        f"npu.v1.call.normal.infer.{LONGEST}a": "model of 65 characters",
        "npu.v1.call.*.fft": "a wildcard",
        "npu.v1.call.normal.>": "a wildcard at the end",
        "npu.v1.call.normal.infer...": "empty tokens",
        "npu.v1.call.normal.infer.../etc": "a path",
        " npu.v1.call.normal.fft": "a space in front",
        "xnpu.v1.call.normal.fft": "more in front",
    }
    return {"valid": valid, "invalid": _reasons("subject", invalid)}


def claims() -> Json:
    valid = []
    for slot, generation, length in (
        (0, 0, 0),
        (1, 2, 3),
        (2**32 - 1, 2**64 - 1, 2**40),
        (7, 18446744073709551615, 1),
    ):
        text = f"npu1:{ARENA}:{slot}:{generation}:{length}"
        valid.append({"text": text, "arena": ARENA, "slot": slot, "generation": generation, "length": length})
    # Leading zeros are digits like any other.
    zeros = f"npu1:{'0' * 32}:0000000001:00000000000000000002:00000000000000000003"
    valid.append({"text": zeros, "arena": "0" * 32, "slot": 1, "generation": 2, "length": 3})
    start = f"npu1:{ARENA}"
    invalid = {
        "": "empty",
        "npu1": "version only",
        f"{start}:1:2": "too few parts",
        f"{start}:1:2:3:4": "too many parts",
        f"npu2:{ARENA}:1:2:3": "another version",
        f"NPU1:{ARENA}:1:2:3": "upper-case version",
        f"npu1:{ARENA[:-1]}:1:2:3": "arena too short",
        f"npu1:{ARENA}0:1:2:3": "arena too long",
        f"npu1:{ARENA.upper()}:1:2:3": "upper-case arena",
        f"npu1:{ARENA[:-1]}g:1:2:3": "arena is not hexadecimal",
        f"npu1:{'/' * 32}:1:2:3": "arena is a path",
        f"{start}::2:3": "empty slot",
        f"{start}:1::3": "empty generation",
        f"{start}:1:2:": "empty length",
        f"{start}:-1:2:3": "negative slot",
        f"{start}:+1:2:3": "plus sign",
        f"{start}:1.0:2:3": "fraction",
        f"{start}:0x1:2:3": "hexadecimal slot",
        f"{start}:1_0:2:3": "underscore",
        f"{start}:٣:2:3": "a digit beyond ASCII",
        f"{start}:4294967296:2:3": "slot of 2^32",
        f"{start}:00000000001:2:3": "slot of 11 digits",
        f"{start}:1:18446744073709551616:3": "generation of 2^64",
        f"{start}:1:000000000000000000001:3": "generation of 21 digits",
        f"{start}:1:2:1099511627777": "length above 2^40",
        f"{start}:1:2:18446744073709551616": "length of 2^64",
        f" {start}:1:2:3": "a space in front",
        f"{start}:1:2:3\n": "a line feed at the end",
        f"{start}:1: 2:3": "a space inside",
        f"{start};1;2;3": "another separator",
    }
    return {"valid": valid, "invalid": _reasons("text", invalid)}


def _subject(text: str, route: str, lane: str, operation: str, model: str | None = None) -> Json:
    return {"subject": text, "route": route, "lane": lane, "operation": operation, "model": model}


def _reasons(key: str, cases: dict[str, str]) -> list[Json]:
    return [{key: text, "reason": reason} for text, reason in cases.items()]
