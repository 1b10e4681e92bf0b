"""One measured figure, and how repeats are taken: interleaved, so that a slow moment hits every contender."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Figure:
    """A median of `samples` in `unit`, beside its floor and its target.

    `ratio` is value / floor (median of the ratios taken pair by pair when both were sampled). `target` reads as in
    the plan: ">= 0.6" or "<= 2" on the ratio, or on the value when there is no floor; None when nothing was promised.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    target: str | None = None
    met: bool | None = None
    samples: list[float] = field(default_factory=list)


def figure(
    name: str,
    samples: list[float],
    unit: str,
    *,
    floor: list[float] | None = None,
    target: str | None = None,
) -> Figure:
    """Make a figure of raw samples; `floor` has one sample per sample."""
    value = statistics.median(samples)
    ratio = statistics.median(a / b for a, b in zip(samples, floor, strict=True)) if floor else None
    met = None
    if target is not None:
        relation, limit = target.split()
        judged = ratio if ratio is not None else value
        met = judged >= float(limit) if relation == ">=" else judged <= float(limit)
    floor_value = statistics.median(floor) if floor else None
    return Figure(name, value, unit, floor_value, ratio, target, met, samples)


def number(value: float) -> str:
    """A value as people read it: whole when large, four digits otherwise."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def interleave(contenders: dict[str, Callable[[], Sample]], repeats: int) -> dict[str, list[Sample]]:
    """Run every contender once per round, `repeats` rounds."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            samples[name].append(run())
    return samples
