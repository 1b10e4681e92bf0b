"""What it costs to start, and what a worker weighs."""

import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil

from npufleet import Fleet
from npufleet.demo.sample import package_file
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import ROOT, Effort


def _seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _first_answer() -> float:
    started = time.perf_counter()
    with Fleet.local() as fleet:
        fleet.fft(np.ones(1024))
        return time.perf_counter() - started


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of starting and of memory."""
    python = sys.executable
    samples = interleave(
        {
            "bare": lambda: _seconds(python, "-c", "import numpy"),
            "import": lambda: _seconds(python, "-c", "import npufleet"),
            "help": lambda: _seconds(python, "-m", "npufleet", "--help"),
        },
        effort.repeats,
    )
    milliseconds = {name: [1000 * second for second in seconds] for name, seconds in samples.items()}
    yield figure("python -c 'import npufleet'", milliseconds["import"], "ms", floor=milliseconds["bare"])
    yield figure("npufleet --help", milliseconds["help"], "ms")
    yield figure("local fleet to first answer", [1000 * _first_answer() for _ in range(effort.repeats)], "ms")
    rust, python_worker = _resident("rust"), _resident("python")
    yield figure("resident memory, Python worker", [python_worker], "MiB")
    yield figure("resident memory, Rust worker, same work", [rust], "MiB", floor=[python_worker], target="<= 0.5")


def _resident(engine: str) -> float:
    """Resident MiB of a worker after it served a model and a thousand transforms."""
    model = package_file("magika", "models/standard_v3_3/model.onnx")
    with Fleet.local(workers=(engine,)) as fleet:
        fleet.models.add("magika", model, version=1, max_batch=16)
        fleet.infer("magika", {"bytes": np.zeros((16, 2048), np.int32)})
        for _ in range(1000):
            fleet.fft(np.ones(1024))
        return psutil.Process(fleet.pids[engine]).memory_info().rss / 2**20
