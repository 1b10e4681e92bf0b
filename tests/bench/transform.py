"""`fft` of 1024 doubles: calls/s through the fleet, and the bare kernel against SciPy on one thread."""

import time
from collections.abc import Iterator

import numpy as np
import scipy.fft

from npufleet import Fleet
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import RELEASE, Effort, client, raw_echo, run_json

POINTS = 1024


def scipy_ns(seconds: float) -> float:
    """Nanoseconds of one scipy.fft.rfft, called as a program calls it."""
    samples = np.random.default_rng(1).standard_normal(POINTS)
    calls, started = 0, time.perf_counter_ns()
    until = started + int(seconds * 1e9)
    while (now := time.perf_counter_ns()) < until:
        for _ in range(100):
            scipy.fft.rfft(samples)
        calls += 100
    return (now - started) / calls


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of the Fourier transform."""
    kernel = [RELEASE / "examples" / "kernel", "--points", str(POINTS), "--seconds", str(effort.seconds)]
    bare = interleave(
        {
            "scipy": lambda: scipy_ns(effort.seconds),
            "rust": lambda: float(run_json(*kernel)["median"]),
        },
        effort.repeats,
    )
    yield figure("scipy.fft.rfft, 1024 doubles", [ns / 1000 for ns in bare["scipy"]], "us")
    yield figure("Rust kernel, 1024 doubles", [ns / 1000 for ns in bare["rust"]], "us")
    faster = [scipy / rust for scipy, rust in zip(bare["scipy"], bare["rust"], strict=True)]
    yield figure("Rust kernel, times faster than SciPy", faster, "x", target=">= 6")

    with Fleet.local(workers=("rust",)) as fleet:
        options = {"transport": "native", "operation": "fft", "points": POINTS, "in_flight": 64}
        samples = interleave(
            {
                "floor": lambda: raw_echo(fleet.url, 64, effort.seconds)["rate"],
                "fleet": lambda: client(fleet.url, effort.seconds, **options)["rate"],
            },
            effort.repeats,
        )
    yield figure("fft 1024 doubles, 64 in flight", samples["fleet"], "1/s", floor=samples["floor"])
