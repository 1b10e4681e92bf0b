"""The measured Python program: awaits calls with a number in flight for some seconds, prints one JSON object.

Run as a process of its own for every sample, so that each starts with a fresh event loop and its own environment.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from npufleet import AsyncFleet

WARM_UP_S = 0.3


def work(fleet: AsyncFleet, arguments: argparse.Namespace) -> Callable[[], Awaitable[Any]]:
    """The call to repeat; inputs are made once."""
    if arguments.operation == "echo":
        made = (fleet.empty if arguments.made else np.empty)(arguments.bytes // 8, np.float64)
        made[:] = np.arange(arguments.bytes // 8)
        tensors = {"x": made}
        return lambda: fleet.call("echo", tensors)
    if arguments.operation == "map":
        rows = np.random.default_rng(1).standard_normal((arguments.rows, arguments.points))
        return lambda: fleet.map("fft", rows)
    if arguments.operation == "fft":
        samples = np.random.default_rng(1).standard_normal(arguments.points)
        return lambda: fleet.fft(samples)
    inputs = dict(np.load(arguments.inputs))
    if arguments.made:
        inputs = {name: fleet.asarray(array) for name, array in inputs.items()}
    return lambda: fleet.infer(arguments.model, inputs)


async def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Calls per second and latency percentiles, in microseconds, after a warm-up."""
    latencies_ns: list[int] = []
    clock = time.perf_counter_ns
    async with AsyncFleet.connect(arguments.url, transport=arguments.transport) as fleet:
        call = work(fleet, arguments)

        async def awaiter(until: int) -> None:
            while (started := clock()) < until:
                await call()
                latencies_ns.append(clock() - started)

        async def flight(seconds: float) -> float:
            started = clock()
            until = started + int(seconds * 1e9)
            await asyncio.gather(*(awaiter(until) for _ in range(arguments.in_flight)))
            return (clock() - started) / 1e9

        await flight(arguments.warm_up)
        latencies_ns.clear()
        elapsed = await flight(arguments.seconds)
    p50, p99 = np.percentile(latencies_ns, [50, 99]) / 1000
    return {"rate": len(latencies_ns) / elapsed, "p50_us": float(p50), "p99_us": float(p99)}


async def compare(arguments: argparse.Namespace) -> dict[str, float]:
    """Median latencies of calls to two models in turns, one at a time, in microseconds: a slow moment hits both."""
    latencies_ns: tuple[list[int], list[int]] = ([], [])
    clock = time.perf_counter_ns
    beside = argparse.Namespace(**vars(arguments) | {"model": arguments.beside, "inputs": arguments.beside_inputs})
    async with AsyncFleet.connect(arguments.url, transport=arguments.transport) as fleet:
        calls = work(fleet, arguments), work(fleet, beside)
        for seconds in (arguments.warm_up, arguments.seconds):
            for latencies in latencies_ns:
                latencies.clear()
            until = clock() + int(seconds * 1e9)
            while clock() < until:
                for call, latencies in zip(calls, latencies_ns, strict=True):
                    started = clock()
                    await call()
                    latencies.append(clock() - started)
    p50, beside_p50 = (float(np.median(latencies)) / 1000 for latencies in latencies_ns)
    return {"p50_us": p50, "beside_p50_us": beside_p50}


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--transport", choices=["native", "pure"], required=True)
    parser.add_argument("--operation", choices=["echo", "fft", "infer", "map"], default="echo")
    parser.add_argument("--bytes", type=int, default=128)
    parser.add_argument("--made", type=int, default=0, help="1: the fleet makes the array that is sent")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--model")
    parser.add_argument("--inputs", help="an .npz file with the model's inputs")
    parser.add_argument("--beside", help="another model, whose calls take turns with those of --model")
    parser.add_argument("--beside-inputs", help="as --inputs, of that model")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S)
    arguments = parser.parse_args()
    measured = compare(arguments) if arguments.beside else measure(arguments)
    json.dump(asyncio.run(measured), sys.stdout)


if __name__ == "__main__":
    main()
