"""Frames of every size there and back: `echo` inline and as placed, against the raw broker and memcpy.

An echo moves its frame twice. A bandwidth is one way: twice the bytes by the time of a round trip, one call at a time.
The channel between hosts is measured in channel.py.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from npufleet import Fleet, _engine
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import RELEASE, Effort, client, raw_echo, run_json

KIB, MIB = 1 << 10, 1 << 20
SMALL = (KIB, 8 * KIB, 64 * KIB, 512 * KIB)
"""Bytes that the broker carries, too."""

LARGE = (MIB, 16 * MIB, 256 * MIB - 64 * KIB)
"""Bytes that it does not; the header of a frame has to fit into the largest slot, too."""

IN_FLIGHT = 16
INLINE = {"NPUFLEET_ARENA_DIR": "off"}
TARGETS = {8 * KIB: ">= 2", 64 * KIB: ">= 6"}
MADE_TARGETS = {8 * KIB: ">= 3", 64 * KIB: ">= 15"}
"""For arrays that the fleet makes where they are sent from."""

ROWS, POINTS = 100_000, 1024


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of payloads, of the compiled parts (the targets are theirs) and of those without compiled code."""
    native = _engine.native_or_none()
    if native is not None and hasattr(native.Client, "make"):
        yield from _sweep("native", "rust", effort)
        yield from _made(effort)
        yield from _mapped(effort)
    yield from _sweep("pure", "python", effort)


def _sweep(transport: str, engine: str, effort: Effort) -> Iterator[Figure]:
    with Fleet.local(workers=(engine,)) as fleet:
        for size in SMALL:
            yield from _rates(fleet.url, transport, size, effort)
        for size in LARGE:
            yield from _bandwidths(fleet.url, transport, size, effort)


def _rates(url: str, transport: str, size: int, effort: Effort) -> Iterator[Figure]:
    """Calls per second with some in flight, as placed against inline."""

    def echo(environment: dict[str, str]) -> float:
        return _echo(url, transport, size, effort, IN_FLIGHT, environment)["rate"]

    samples = interleave(
        {
            "raw": lambda: raw_echo(url, IN_FLIGHT, effort.seconds, payload=size)["rate"],
            "inline": lambda: echo(INLINE),
            "placed": lambda: echo({}),
        },
        effort.repeats,
    )
    where = f"{_name(size)}, {IN_FLIGHT} in flight"
    yield figure(f"raw async-nats echo, {where}", samples["raw"], "1/s")
    yield figure(f"{transport}: echo inline, {where}, of raw", samples["inline"], "1/s", floor=samples["raw"])
    target = TARGETS.get(size) if transport == "native" else None
    title = f"{transport}: echo as placed, {where}, of inline"
    yield figure(title, samples["placed"], "1/s", floor=samples["inline"], target=target)


def _bandwidths(url: str, transport: str, size: int, effort: Effort) -> Iterator[Figure]:
    """Gigabytes per second one way."""
    samples = interleave(
        {
            "memcpy": lambda: memcpy(size, effort.seconds),
            "placed": lambda: 2 * size / _echo(url, transport, size, effort, 1, {})["p50_us"] / 1e3,
        },
        effort.repeats,
    )
    yield figure(f"memcpy, {_name(size)}", samples["memcpy"], "GB/s")
    target = ">= 0.5" if transport == "native" else None
    title = f"{transport}: echo as placed, {_name(size)}, one way, of memcpy"
    yield figure(title, samples["placed"], "GB/s", floor=samples["memcpy"], target=target)


def _made(effort: Effort) -> Iterator[Figure]:
    """Arrays that the fleet made: calls per second against inline, and what a large one adds to a call's latency.

    The worker's copy of the result is in it: an echo's is as large as what was sent.
    """
    with Fleet.local(workers=("rust",)) as fleet:
        url = fleet.url

        def echo(size: int, in_flight: int, environment: dict[str, str] | None = None, made: int = 1) -> Any:
            return _echo(url, "native", size, effort, in_flight, environment or {}, made=made)

        for size, target in MADE_TARGETS.items():
            samples = interleave(
                {
                    "inline": lambda n=size: echo(n, IN_FLIGHT, INLINE, made=0)["rate"],
                    "made": lambda n=size: echo(n, IN_FLIGHT)["rate"],
                },
                effort.repeats,
            )
            title = f"native: echo of a made array, {_name(size)}, {IN_FLIGHT} in flight, of inline"
            yield figure(title, samples["made"], "1/s", floor=samples["inline"], target=target)
        for size in LARGE[:2]:
            samples = interleave(
                {
                    "small": lambda: echo(128, 1, made=0)["p50_us"],
                    "made": lambda n=size: echo(n, 1)["p50_us"],
                },
                effort.repeats,
            )
            added = [made - small for small, made in zip(samples["small"], samples["made"], strict=True)]
            title = f"native: echo of a made array, {_name(size)}, p50 beyond that of 128 bytes"
            yield figure(title, added, "us", target="<= 20")


def _mapped(effort: Effort) -> Iterator[Figure]:
    """Rows per second of `map` against the bare kernel on one thread."""
    kernel = [RELEASE / "examples" / "kernel", "--points", str(POINTS), "--seconds", str(effort.seconds)]
    options = {"transport": "native", "operation": "map", "rows": ROWS, "points": POINTS, "in_flight": 1}
    with Fleet.local(workers=("rust",)) as fleet:
        samples = interleave(
            {
                "kernel": lambda: 1e9 / float(run_json(*kernel)["median"]),
                "map": lambda: ROWS * client(fleet.url, effort.seconds, **options)["rate"],
            },
            effort.repeats,
        )
    title = f"native: map of fft over {ROWS:,} rows of {POINTS} doubles, of the bare kernel"
    yield figure(title, samples["map"], "rows/s", floor=samples["kernel"], target=">= 0.6")


def _echo(
    url: str,
    transport: str,
    size: int,
    effort: Effort,
    in_flight: int,
    environment: dict[str, str],
    **options: Any,
) -> dict[str, float]:
    options |= {"transport": transport, "operation": "echo", "bytes": size, "in_flight": in_flight}
    return client(url, effort.seconds, environment=environment, **options)


def memcpy(size: int, seconds: float) -> float:
    """Gigabytes per second of one thread that copies an array of this size to where it was copied before."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    copies, started = 0, time.perf_counter()
    until = started + seconds
    while (now := time.perf_counter()) < until or not copies:
        target[:] = source
        copies += 1
    return size * copies / (now - started) / 1e9


def _name(size: int) -> str:
    return f"{round(size / MIB)} MiB" if size >= MIB else f"{size // KIB} KiB"
