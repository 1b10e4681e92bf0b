"""The ZeroMQ channel over loopback against bare ZeroMQ, from 64 KiB to 64 MiB, several frames on their way at once; and
calls between processes that share no memory, against the same ones with everything inline.

The target holds from the size on from which frames go over the channel; smaller ones do so when nobody knows better.
"""

import tempfile
from collections.abc import Iterator

from npufleet import Fleet, _engine
from npufleet.payload.layout import CHANNEL_BYTES
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import RELEASE, Effort, client, run_json

SIZES = {"64 KiB": 2**16, "256 KiB": 2**18, "1 MiB": 2**20, "4 MiB": 2**22, "16 MiB": 2**24, "64 MiB": 2**26}

IN_FLIGHT = 16
"""Calls at once."""

ROUNDS = 3
"""So many times the samples of elsewhere, each half as long: bare ZeroMQ has two speeds, one nearly twice the other,
depending on whether glibc gives the memory of each message back to the system."""

LANES = 4
"""Frames on their way at once: with one, what is measured is how often two processes take turns."""


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of frames fetched from another process, and of frames there and back."""
    for name, size in SIZES.items():
        measured = {mode: lambda m=mode, n=size: transfers(m, n, effort.seconds / 2) for mode in MODES}
        samples = interleave(measured, ROUNDS * effort.repeats)
        speeds = {mode: [rate * size / 1e9 for rate in rates] for mode, rates in samples.items()}
        yield figure(f"bare ZeroMQ, {name} asked for", speeds["ask"], "GB/s")
        yield figure(f"channel, {name} fetched", speeds["fetch"], "GB/s", floor=speeds["ask"])
        yield figure(f"bare ZeroMQ, {name} there and back", speeds["bare"], "GB/s each way")
        title, target = f"channel, {name} there and back", ">= 0.9" if size >= CHANNEL_BYTES else None
        yield figure(title, speeds["channel"], "GB/s each way", floor=speeds["bare"], target=target)
        yield figure(
            f"channel with CURVE, {name} there and back", speeds["curve"], "GB/s each way", floor=speeds["bare"]
        )
    if _engine.native_or_none() is not None:
        yield from _calls(effort)


def _calls(effort: Effort) -> Iterator[Figure]:
    """Calls per second below and above the size from which on the channel is used, as placed, of inline."""
    # An arena in a folder of its own is one on another host, as far as the worker can see.
    with Fleet.local(workers=("rust",)) as fleet, tempfile.TemporaryDirectory(dir="/dev/shm") as apart:
        for size, target in ((64 << 10, ">= 0.9"), (512 << 10, ">= 1")):

            def rate(arenas: str, size: int = size) -> float:
                options = {"transport": "native", "bytes": size, "in_flight": IN_FLIGHT}
                environment = {"NPUFLEET_ARENA_DIR": arenas}
                return client(fleet.url, effort.seconds, environment=environment, **options)["rate"]

            samples = interleave({"inline": lambda r=rate: r("off"), "placed": lambda r=rate: r(apart)}, effort.repeats)
            title = f"native: echo without shared memory, {size >> 10} KiB, {IN_FLIGHT} in flight, of inline"
            yield figure(title, samples["placed"], "1/s", floor=samples["inline"], target=target)


MODES = ("ask", "fetch", "bare", "channel", "curve")


def transfers(mode: str, size: int, seconds: float) -> float:
    """Transfers a second of the program in crates/payload/examples/echo.rs."""
    return float(run_json(RELEASE / "examples" / "echo", mode, str(size), str(seconds), str(LANES)))
