"""How fast a model is served, measured through the fleet; the fields have benchmark_app's words."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import InvalidParameterError, UnavailableError
from npufleet.model_info import check_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from npufleet.model_info import ModelInfo, Port
    from npufleet.result import Result

    Call = Callable[[Mapping[str, object]], Awaitable[Result]]

PERCENTILES: Final = (90, 95, 99)
SECONDS_LIMIT: Final = 3600.0
CONCURRENCY_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from asking to the answer; `percentiles` by their number."""

    median: float
    average: float
    min: float
    max: float
    percentiles: dict[int, float]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured: `count` calls of `batch_size` rows each in `duration` ms, `requests` of them at a time.

    `first_inference` (ms) is the call before them, which they do not count. `throughput` is in rows per second (FPS).
    `engines` and `devices` say who answered how many of the calls, `fallbacks` how many left their first engine.
    """

    model: str
    version: int
    batch_size: int
    requests: int
    shapes: dict[str, tuple[int, ...]]
    first_inference: float
    count: int
    duration: float
    latency: Latency
    throughput: float
    engines: dict[str, int]
    devices: dict[str, int]
    fallbacks: int


async def run(
    info: ModelInfo,
    call: Call,
    *,
    batch_size: int,
    requests: int,
    seconds: float,
    shapes: Mapping[str, Sequence[int]],
    inputs: Mapping[str, object] | None,
) -> Benchmark:
    """Ask a served model for some seconds, with `requests` calls at a time.

    Raises `InvalidParameterError` for bad arguments, `UnavailableError` when no worker serves the model, and the first
    error of a call.
    """
    check_number("batch_size", batch_size, 1, info.max_batch)
    check_number("requests", requests, 1, CONCURRENCY_LIMIT)
    check_number("seconds", seconds, 0.001, SECONDS_LIMIT)
    tensors: dict[str, NDArray[Any]] = _made_up(info, batch_size, shapes) if inputs is None else {}
    for name, value in (inputs or {}).items():
        tensors[name] = np.asarray(value)
    sizes = {name: array.shape for name, array in tensors.items()}
    rows = next((size[0] for size in sizes.values() if size), 1)
    first = time.perf_counter()
    await call(tensors)
    begin = time.perf_counter()
    times: list[float] = []
    engines: Counter[str] = Counter()
    devices: Counter[str] = Counter()
    fallbacks = 0

    async def keep_asking() -> None:
        nonlocal fallbacks
        while (started := time.perf_counter()) < begin + seconds:
            result = await call(tensors)
            times.append((time.perf_counter() - started) * 1e3)
            engines[result.engine or "unknown"] += 1
            devices[result.device or "unknown"] += 1
            fallbacks += result.fallback_reason is not None

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(requests):
                group.create_task(keep_asking())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    duration = time.perf_counter() - begin
    return Benchmark(
        model=info.name,
        version=info.version,
        batch_size=rows,
        requests=requests,
        shapes=sizes,
        first_inference=(begin - first) * 1e3,
        count=len(times),
        duration=duration * 1e3,
        latency=_latency(times),
        throughput=len(times) * rows / duration,
        engines=dict(engines),
        devices=dict(devices),
        fallbacks=fallbacks,
    )


def _latency(times: list[float]) -> Latency:
    percentiles = np.percentile(times, PERCENTILES)
    return Latency(
        median=float(np.median(times)),
        average=float(np.mean(times)),
        min=min(times),
        max=max(times),
        percentiles={number: float(value) for number, value in zip(PERCENTILES, percentiles, strict=True)},
    )


def _made_up(info: ModelInfo, batch_size: int, shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[Any]]:
    """Return values that any model takes: floats from -1 to 1, integers of 0 and 1."""
    ports = next((worker.inputs for worker in info.workers if worker.state == "ready" and worker.inputs), None)
    if ports is None:
        raise UnavailableError(f"no worker serves model '{info.name}' version {info.version}")
    names = [port.name for port in ports]
    for name in shapes:
        if name not in names:
            raise InvalidParameterError(f"shapes has '{name}'; the model's inputs: {', '.join(names)}")
    random = np.random.default_rng(0)
    tensors = {}
    for port in ports:
        shape = _shape(port, batch_size, shapes.get(port.name))
        dtype = np.dtype(port.dtype)
        unit = random.random(shape)
        tensors[port.name] = (2 * unit - 1 if dtype.kind == "f" else unit > 0.5).astype(dtype)
    return tensors


def _shape(port: Port, batch_size: int, given: Sequence[int] | None) -> tuple[int, ...]:
    declared = "any" if port.shape is None else [("?" if size is None else size) for size in port.shape]
    if given is None:
        sizes = (
            None if port.shape is None else (batch_size, *port.shape[1:]) if port.shape[:1] == (None,) else port.shape
        )
        if sizes is None or None in sizes:
            raise InvalidParameterError(f"shapes lacks '{port.name}', whose shape is open: {declared}")
        return tuple(size for size in sizes if size is not None)
    fits = port.shape is None or (
        len(given) == len(port.shape)
        and all(want in (None, have) for want, have in zip(port.shape, given, strict=True))
    )
    if not fits or not all(type(size) is int and size > 0 for size in given):
        raise InvalidParameterError(f"shapes has {list(given)} for '{port.name}'; allowed: {declared}")
    return tuple(given)
