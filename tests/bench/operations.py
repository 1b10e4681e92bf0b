"""Both engines on the same requests, one thread: how many times faster the Rust engine is.

The Rust engine is timed from frame to frame, the Python engine (SciPy, PyWavelets; NumPy where there is no library)
from arrays to arrays, so decoding and encoding count against Rust only.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npufleet import _native, operations
from npufleet.wire import frame
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import Effort

REQUESTS: dict[str, dict[str, Any]] = {
    "fft": {},
    "filter": {"cutoff": 40.0, "fs": 360.0, "btype": "lowpass"},
    "wavelet": {"method": "decompose", "wavelet": "db4"},
    "kalman": {},
    "adaptive": {"method": "nlms"},
}
LIBRARY = {"fft": "SciPy", "filter": "SciPy", "wavelet": "PyWavelets"}
"""Those whose Python side is compiled code; the others are measured on short signals only."""


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of the signal operations."""
    for points in (1024, 65_536):
        for name, params in REQUESTS.items():
            if points > 1024 and name not in LIBRARY:
                continue
            tensors = _tensors(name, points)
            checked = operations.check(name, tensors, params)
            request = frame.encode(tensors, params)
            execute = operations.REGISTRY[name].execute
            seconds = effort.seconds / 4
            samples = interleave(
                {
                    "rust": lambda n=name, r=request, s=seconds: _seconds_each(lambda: _native.execute(n, r), s),
                    "python": lambda e=execute, t=tensors, c=checked, s=seconds: _seconds_each(
                        lambda: e(t, c, lambda: False), s
                    ),
                },
                effort.repeats,
            )
            faster = [python / rust for python, rust in zip(samples["python"], samples["rust"], strict=True)]
            title = f"{name}, {points:,} points: Rust engine, times faster than {LIBRARY.get(name, 'NumPy')}"
            yield figure(title, faster, "x", target=">= 10" if points == 1024 else ">= 3")


def _tensors(name: str, points: int) -> dict[str, Any]:
    random = np.random.default_rng(1)
    x = random.standard_normal(points)
    if name == "kalman":
        return {"z": x}
    return {"x": x, "d": random.standard_normal(points)} if name == "adaptive" else {"x": x}


def _seconds_each(run: Callable[[], object], seconds: float) -> float:
    """Fastest of many runs: what the machine's other users take is not the operation's."""
    run()
    best, until = float("inf"), time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        run()
        best = min(best, time.perf_counter() - started)
    return best
