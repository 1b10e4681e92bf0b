"""The ZeroMQ channel over loopback against bare ZeroMQ, from 64 KiB to 64 MiB, several frames on their way at once."""

from collections.abc import Iterator

from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import RELEASE, Effort, run_json

SIZES = {"64 KiB": 2**16, "256 KiB": 2**18, "1 MiB": 2**20, "4 MiB": 2**22, "16 MiB": 2**24, "64 MiB": 2**26}

LANES = 4
"""Frames on their way at once: with one, what is measured is how often two processes take turns."""


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of frames fetched from another process, and of frames there and back."""
    for name, size in SIZES.items():
        samples = interleave(
            {mode: lambda m=mode, n=size: transfers(m, n, effort.seconds) for mode in MODES}, effort.repeats
        )
        speeds = {mode: [rate * size / 1e9 for rate in rates] for mode, rates in samples.items()}
        yield figure(f"bare ZeroMQ, {name} asked for", speeds["ask"], "GB/s")
        yield figure(f"channel, {name} fetched", speeds["fetch"], "GB/s", floor=speeds["ask"])
        yield figure(f"bare ZeroMQ, {name} there and back", speeds["bare"], "GB/s each way")
        yield figure(
            f"channel, {name} there and back", speeds["channel"], "GB/s each way", floor=speeds["bare"], target=">= 0.9"
        )
        yield figure(
            f"channel with CURVE, {name} there and back", speeds["curve"], "GB/s each way", floor=speeds["bare"]
        )


MODES = ("ask", "fetch", "bare", "channel", "curve")


def transfers(mode: str, size: int, seconds: float) -> float:
    """Transfers a second of the program in crates/payload/examples/echo.rs."""
    return float(run_json(RELEASE / "examples" / "echo", mode, str(size), str(seconds), str(LANES)))
