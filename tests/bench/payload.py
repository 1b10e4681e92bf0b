"""Frames of every size: calls a second inline, as placed and in arrays that the fleet made, and bytes a second.

What the broker carries is measured with `echo`, with several numbers in flight. The ceiling of a placed call is a call
of 128 bytes: its claim is as large. A frame's own way is measured with a model that answers with one element: an echo
also has the worker copy the frame back. The channel between hosts is measured in channel.py.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
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

IN_FLIGHT = (16, 64, 256)
BEST = 256
"""The number in flight at which inline calls of 8 and 64 KiB are the most: the targets are set there."""
USUAL = 64
"""For sizes without a target."""
WAY_IN_FLIGHT = 16
"""Frames on their way at once where bytes are counted: with one, it is the round trip that is measured."""
INLINE = {"NPUFLEET_ARENA_DIR": "off"}
CEILING = 128
TARGETS = {8 * KIB: (">= 2", ">= 3"), 64 * KIB: (">= 6", ">= 15")}
"""Of inline, for arrays that are copied once, and for those that the fleet makes where they are sent from."""

ROWS, POINTS = 100_000, 1024


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of payloads, of the compiled parts (the targets are theirs) and of those without compiled code."""
    native = _engine.native_or_none()
    if native is not None and hasattr(native.Client, "make"):
        yield from _sweep("native", "rust", effort)
        with Fleet.local(workers=("rust",)) as fleet, tempfile.TemporaryDirectory() as folder:
            yield from _ways(fleet, Path(folder), effort)
        yield from _mapped(effort)
    yield from _sweep("pure", "python", effort)


def _sweep(transport: str, engine: str, effort: Effort) -> Iterator[Figure]:
    with Fleet.local(workers=(engine,)) as fleet:
        for size in SMALL:
            for in_flight in IN_FLIGHT if size in TARGETS and transport == "native" else (USUAL,):
                yield from _rates(fleet.url, transport, size, in_flight, effort)
        for size in LARGE:
            yield from _echoes(fleet.url, transport, size, effort)


def _rates(url: str, transport: str, size: int, in_flight: int, effort: Effort) -> Iterator[Figure]:
    """Calls per second with some in flight, as placed and in a made array against inline."""

    def echo(size: int, environment: dict[str, str], made: int = 0) -> float:
        return _echo(url, transport, size, effort, in_flight, environment, made=made)["rate"]

    contenders = {
        "raw": lambda: raw_echo(url, in_flight, effort.seconds, payload=size)["rate"],
        "inline": lambda: echo(size, INLINE),
        "placed": lambda: echo(size, {}),
    }
    has_targets = transport == "native" and size in TARGETS
    if has_targets:
        contenders |= {"made": lambda: echo(size, {}, made=1), "ceiling": lambda: echo(CEILING, {})}
    # What is held to a target is measured in more rounds.
    is_judged = has_targets and in_flight == BEST
    samples = interleave(contenders, 3 * effort.repeats if is_judged else effort.repeats)
    where = f"{_name(size)}, {in_flight} in flight"
    yield figure(f"raw async-nats echo, {where}", samples["raw"], "1/s")
    yield figure(f"{transport}: echo inline, {where}, of raw", samples["inline"], "1/s", floor=samples["raw"])
    targets: tuple[str | None, str | None] = (None, None)
    if is_judged:
        where = f"{where} (inline's best)"
        targets = TARGETS[size]
    title = f"{transport}: echo as placed, {where}, of inline"
    yield figure(title, samples["placed"], "1/s", floor=samples["inline"], target=targets[0])
    if "made" in samples:
        title = f"{transport}: echo of a made array, {where}, of inline"
        yield figure(title, samples["made"], "1/s", floor=samples["inline"], target=targets[1])
        title = f"{transport}: the ceiling, echo of {CEILING} bytes, {in_flight} in flight, of {_name(size)} inline"
        yield figure(title, samples["ceiling"], "1/s", floor=samples["inline"])


def _echoes(url: str, transport: str, size: int, effort: Effort) -> Iterator[Figure]:
    """Gigabytes per second one way of a frame there and back, one at a time: two copies, and a round trip."""
    samples = interleave(
        {
            "memcpy": lambda: memcpy(size, 1, effort.seconds),
            "placed": lambda: 2 * size / _echo(url, transport, size, effort, 1, {})["p50_us"] / 1e3,
        },
        effort.repeats,
    )
    title = f"{transport}: echo as placed, {_name(size)}, one at a time, one way, of memcpy"
    yield figure(title, samples["placed"], "GB/s", floor=samples["memcpy"])


def _ways(fleet: Fleet, folder: Path, effort: Effort) -> Iterator[Figure]:
    """Frames on their way to a model that answers with their first element.

    Bytes per second with one copy in, against as many copies to as many places as there are slots in use; and what
    the size of an array that was made in a slot adds to a call's latency.
    """

    def infer(size: int, made: int, **options: Any) -> dict[str, float]:
        model = f"first-{size}"
        options |= {"transport": "native", "operation": "infer", "model": model, "inputs": folder / f"{model}.npz"}
        return client(fleet.url, effort.seconds, made=made, **options)

    for size in (CEILING, *LARGE[:2]):
        name, elements = f"first-{size}", size // 4
        np.savez(folder / f"{name}.npz", x=np.ones((1, elements), np.float32))
        fleet.models.add(name, write_first(folder / f"{name}.xml", elements), version=1, max_batch=1)
    for size in LARGE[:2]:
        samples = interleave(
            {
                "memcpy": lambda n=size: memcpy(n, WAY_IN_FLIGHT, effort.seconds),
                "placed": lambda n=size: n * infer(n, 0, in_flight=WAY_IN_FLIGHT)["rate"] / 1e9,
            },
            effort.repeats,
        )
        title = f"native: {_name(size)} as placed, one way, {WAY_IN_FLIGHT} in flight, of memcpy to as many places"
        yield figure(title, samples["placed"], "GB/s", floor=samples["memcpy"], target=">= 0.5")
    for size in LARGE[:2]:
        beside = {"beside": f"first-{CEILING}", "beside_inputs": folder / f"first-{CEILING}.npz"}
        both = [infer(size, 1, **beside) for _ in range(effort.repeats)]
        added = [sample["p50_us"] - sample["beside_p50_us"] for sample in both]
        yield figure(
            f"native: a made array of {_name(size)}, p50 beyond that of 128 bytes", added, "us", target="<= 20"
        )


def write_first(path: Path, elements: int) -> Path:
    """Write a model that gives the first of so many elements, as OpenVINO IR; the path of its .xml."""
    import openvino as ov
    from openvino import opset13 as op

    x = op.parameter([1, elements], np.float32, name="x")
    first = op.slice(x, op.constant([0]), op.constant([1]), op.constant([1]), op.constant([1]))
    x.output(0).set_names({"x"})
    first.output(0).set_names({"y"})
    ov.save_model(ov.Model([first], [x], path.stem), path, compress_to_fp16=False)
    return path


def _mapped(effort: Effort) -> Iterator[Figure]:
    """Rows per second of `map` against the bare kernel on one thread, over as much memory."""
    kernel = [RELEASE / "examples" / "kernel", "--points", str(POINTS), "--batch", str(ROWS)]
    kernel += ["--seconds", str(effort.seconds)]
    options = {"transport": "native", "operation": "map", "rows": ROWS, "points": POINTS, "in_flight": 1}
    with Fleet.local(workers=("rust",)) as fleet:
        samples = interleave(
            {
                "kernel": lambda: 1e9 / float(run_json(*kernel)["median"]),
                "map": lambda: ROWS * client(fleet.url, effort.seconds, **options)["rate"],
            },
            effort.repeats,
        )
    title = f"native: map of fft over {ROWS:,} rows of {POINTS} doubles, of the bare kernel over the same"
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


def memcpy(size: int, places: int, seconds: float) -> float:
    """Gigabytes per second of one thread that copies an array of this size to each of so many places in turn."""
    # Written to once before: a slot that is used again has its pages.
    source, targets = np.ones(size, np.uint8), [np.ones(size, np.uint8) for _ in range(places)]
    copies, started = 0, time.perf_counter()
    until = started + seconds
    while (now := time.perf_counter()) < until or not copies:
        targets[copies % places][:] = source
        copies += 1
    return size * copies / (now - started) / 1e9


def _name(size: int) -> str:
    return f"{round(size / MIB)} MiB" if size >= MIB else f"{size // KIB} KiB"
