"""Which devices OpenVINO can use here, and why the others are not there."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import openvino  # type: ignore[import-untyped]

NPU_NODE: Final = Path("/dev/accel/accel0")
_TEXT_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Device:
    """One device by its contract name; `reason` says why it is not, or not wholly, available."""

    name: str
    available: bool
    reason: str | None = None
    full_name: str | None = None


class Runtime:
    """OpenVINO's core, or the reason why there is none; importing it takes a good part of a second."""

    def __init__(self, names: Sequence[str]) -> None:
        self.core: openvino.Core | None = None
        self.version: str | None = None
        self.devices: tuple[Device, ...] = ()
        try:
            import openvino

            self.core = openvino.Core()
        except (ImportError, RuntimeError) as error:
            self.devices = without_openvino(names, f"no openvino: {brief(error)}")
            return
        self.version = openvino.get_version().partition("-")[0]
        # The list is built from what is there: a fixed "AUTO:NPU,GPU,CPU" fails where one plugin cannot load.
        present = {device.partition(".")[0] for device in self.core.available_devices}
        self.devices = tuple(_device(self.core, name, present=name in present) for name in names)

    def usable(self, names: Sequence[str]) -> list[str]:
        """Return those of the named devices that are available, in the order of the names."""
        available = {device.name for device in self.devices if device.available}
        return [name for name in names if name in available] if self.core is not None else []


def without_openvino(names: Sequence[str], reason: str) -> tuple[Device, ...]:
    """Return the devices as they are for everything but models: the CPU does the signal operations."""
    return tuple(
        Device(name, available=True, reason=f"for signal operations only: {reason}")
        if name == "CPU"
        else Device(name, available=False, reason=reason)
        for name in names
    )


def describe(devices: Sequence[Device], lost: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return devices as plain values, for events and the service protocol; those that failed with the reason."""
    rows = [asdict(device) for device in devices]
    return [row | {"available": False, "reason": lost[row["name"]]} if row["name"] in lost else row for row in rows]


def _device(core: openvino.Core, name: str, *, present: bool) -> Device:
    try:
        full_name = str(core.get_property(name, "FULL_DEVICE_NAME"))
    except RuntimeError as error:
        full_name, reason = None, brief(error)
    else:
        reason = f"openvino reports no {name}"
    if present:
        return Device(name, available=True, full_name=full_name)
    # The plugin answers some questions without a device, so its error text would say little.
    return Device(name, available=False, reason=_npu_reason() if name == "NPU" else reason)


def _npu_reason(node: Path = NPU_NODE) -> str:
    if not node.exists():
        return f"no NPU: {node} is absent"
    if not os.access(node, os.R_OK | os.W_OK):
        return f"no permission to use {node}"
    return "openvino finds no NPU driver"


def brief(error: Exception) -> str:
    """Return OpenVINO's error text as one line without the places in its sources and long paths."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = " ".join(line for line in lines if line and not line.startswith("Exception from "))
    return re.sub(r'"/[^"]*/([^"/]+)"', r"\1", kept)[:_TEXT_LIMIT] or type(error).__name__
