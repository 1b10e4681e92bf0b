"""Both engines on the same requests, one thread: how many times faster the Rust engine is.

The Rust engine is timed from frame to frame, the Python engine (SciPy, PyWavelets; NumPy where there is no library)
from arrays to arrays, so decoding and encoding count against Rust only.

They are timed in a process of their own whose allocator keeps what it is given back. Otherwise a result of 2 MB is
made of new pages or not, by what the process did before, and SciPy takes three times as long or not. The Rust engine
keeps the memory of large results itself, so this favours the others.

The roofline of an operation is the time that no implementation behind the same interface can beat on this processor: a
frame of the same size through the engine and another one back (`echo` with a parameter, which computes nothing and
copies), and the operation's arithmetic at the peak of the processor's multiply-adds, as measured in the same run. Where
even the roofline is not as many times faster as was asked for, the figure is judged by nothing and shown as its share
of the roofline.
"""

import ctypes
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from math import log2
from statistics import median
from typing import Any

import numpy as np

from npufleet import _native, operations
from npufleet.wire import frame
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import RELEASE, Effort, run_json

REQUESTS: dict[str, dict[str, Any]] = {
    "fft": {},
    "filter": {"cutoff": 40.0, "fs": 360.0, "btype": "lowpass"},
    "wavelet": {"method": "decompose", "wavelet": "db4"},
    "kalman": {},
    "adaptive": {"method": "nlms"},
}
LIBRARY = {"fft": "SciPy", "filter": "SciPy", "wavelet": "PyWavelets"}
"""Those whose Python side is compiled code; the others are measured on short single signals only."""
SIZES = ((1024, 1), (65_536, 1), (1024, 64), (65_536, 4))
"""Points of a signal, and how many signals a request has."""
BACK = SIZES[2]
"""Those that are reconstructed from their wavelet coefficients, too."""
FUSED: dict[str, Callable[[int], float]] = {
    # Half of what a complex transform takes (Linzer and Feig, 1993).
    "fft": lambda n: 4 / 3 * n * log2(n) - 8 / 9 * n,
    # Two sections of second order, as the default order 4 has, of five coefficients each.
    "filter": lambda n: 2 * 5 * n,
    # Two filters of eight taps, for n outputs and half as many a level; lifting takes half of that.
    "wavelet": lambda n: 2 * n * 8 / 2,
}
"""Fused multiply-adds that an operation of `LIBRARY` takes at least, by the number of points."""
KEPT = {"M_TRIM_THRESHOLD": (-1, 1 << 30), "M_MMAP_THRESHOLD": (-3, 1 << 25)}
"""What glibc is told (mallopt(3)): bytes that it keeps, and from how many on it maps memory anew each time."""


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of the signal operations."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_keep_memory) as process:
        yield from _figures(effort, lambda *work: process.submit(_samples, effort, *work).result())


def _keep_memory() -> None:
    """Have this process's allocator keep what it is given back."""
    for name, (option, size) in KEPT.items():
        if not ctypes.CDLL(None).mallopt(option, size):
            raise OSError(f"the allocator refuses {name} {size}")


def _figures(effort: Effort, samples_of: Callable[..., dict[str, list[float]]]) -> Iterator[Figure]:
    peak = run_json(RELEASE / "examples" / "roof", "--seconds", str(effort.seconds))["fused_per_second"]
    yield figure("fused multiply-adds of one core, 64 bits, at most", [peak / 1e9], "G/s")
    for points, rows in SIZES:
        for name, params in REQUESTS.items():
            if (points, rows) != SIZES[0] and name not in LIBRARY:
                continue
            tensors = _tensors(name, (rows, points) if rows > 1 else (points,))
            samples = samples_of(name, tensors, params, rows)
            faster = [python / rust for python, rust in zip(samples["python"], samples["rust"], strict=True)]
            title, than = _title(name, points, rows), f"times faster than {LIBRARY.get(name, 'NumPy')}"
            wanted = 10 if points == 1024 else 3
            roof = None
            if name in LIBRARY:
                least = rows * FUSED[name](points) / peak
                roof = [slow / (way + least) for slow, way in zip(samples["python"], samples["frame"], strict=True)]
                yield figure(f"{title}: the roofline, {than}", roof, "x")
            if roof and median(roof) < wanted:
                yield figure(f"{title}: Rust engine, {than}", faster, "x", floor=roof)
            else:
                yield figure(f"{title}: Rust engine, {than}", faster, "x", target=f">= {wanted}")
    points, rows = BACK
    there = operations.check("wavelet", x := _tensors("wavelet", (rows, points)), REQUESTS["wavelet"])
    coefficients = operations.REGISTRY["wavelet"].execute(x, there, lambda: False)
    samples = samples_of("wavelet", coefficients, REQUESTS["wavelet"] | {"method": "reconstruct"}, rows)
    faster = [python / rust for python, rust in zip(samples["python"], samples["rust"], strict=True)]
    title = _title("wavelet reconstruct", points, rows)
    yield figure(f"{title}: Rust engine, times faster than {LIBRARY['wavelet']}", faster, "x")


def _samples(
    effort: Effort, name: str, tensors: dict[str, Any], params: dict[str, Any], rows: int
) -> dict[str, list[float]]:
    """Seconds that a request of so many signals takes each engine, and its frame alone the Rust one."""
    checked = operations.check(name, tensors, params)
    request, echo = frame.encode(tensors, params), frame.encode(tensors, {"delay": 0.0})
    execute = operations.REGISTRY[name].execute
    seconds = effort.seconds / (4 if rows == 1 else 8)
    return interleave(
        {
            "frame": lambda: _seconds_each(lambda: _native.execute("echo", echo), seconds),
            "rust": lambda: _seconds_each(lambda: _native.execute(name, request), seconds),
            "python": lambda: _seconds_each(lambda: execute(tensors, checked, lambda: False), seconds),
        },
        effort.repeats,
    )


def _title(name: str, points: int, rows: int) -> str:
    return f"{name}, {points:,} points" if rows == 1 else f"{name}, {rows} rows of {points:,} points"


def _tensors(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    random = np.random.default_rng(1)
    x = random.standard_normal(shape)
    if name == "kalman":
        return {"z": x}
    return {"x": x, "d": random.standard_normal(shape)} if name == "adaptive" else {"x": x}


def _seconds_each(run: Callable[[], object], seconds: float) -> float:
    """Fastest of many runs: what the machine's other users take is not the operation's."""
    run()
    best, until = float("inf"), time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        run()
        best = min(best, time.perf_counter() - started)
    return best
