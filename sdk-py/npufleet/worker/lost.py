"""Devices that failed while they served: why, how often, and when each is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_REST: Final = 600.0


@dataclass(slots=True)
class Lost:
    """One device that is not used for now; `failures` in a row, tried again at `until` (of `time.monotonic`)."""

    reason: str
    failures: int
    until: float
    rest: float

    def text(self) -> str:
        """Return what health shows as the reason."""
        return f"lost at run time, failure {self.failures}: {self.reason}; tried again after {self.rest:g} s"


class LostDevices:
    """The devices of one worker that are not used for now; the first rest is `rest` seconds, each later one doubles."""

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self._lost: dict[str, Lost] = {}

    def __contains__(self, device: str) -> bool:
        """Whether a device is not to be used."""
        return device in self._lost

    def add(self, device: str, reason: str) -> Lost:
        """Note that a device failed, or failed again when it was tried."""
        before = self._lost.get(device)
        failures = before.failures + 1 if before else 1
        rest = min(self._rest * 2 ** (failures - 1), max(LONGEST_REST, self._rest))
        lost = self._lost[device] = Lost(reason, failures, time.monotonic() + rest, rest)
        return lost

    def found(self, device: str) -> None:
        """Note that a device works again."""
        self._lost.pop(device, None)

    def due(self) -> list[str]:
        """Return the devices that are to be tried again now."""
        return [device for device, lost in self._lost.items() if lost.until <= time.monotonic()]

    def next_due(self) -> float | None:
        """Return the seconds until one is to be tried again; None when none is lost."""
        times = [lost.until for lost in self._lost.values()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def without(self, devices: Iterable[str]) -> tuple[str, ...]:
        """Return those of the devices that are to be used."""
        return tuple(device for device in devices if device not in self._lost)

    def reasons(self) -> dict[str, str]:
        """Return why each lost device is not used."""
        return {device: lost.text() for device, lost in self._lost.items()}

    def notes(self, devices: Iterable[str]) -> list[str]:
        """Return why some of the devices are not used."""
        return [f"{device}: {self._lost[device].text()}" for device in devices if device in self._lost]
