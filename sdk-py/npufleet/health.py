"""The four components of a fleet, truthfully: Rust workers, Python workers, the NPU, MATLAB.

A component that is absent is `ok: false` with the reason, never left out and never guessed.
"""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npufleet.fleet import AsyncFleet

ACCELERATORS: Final = Path("/dev/accel")
"""Where the Linux kernel shows NPUs."""

Report = dict[str, Any]


async def collect(fleet: AsyncFleet) -> Report:
    """Ask every worker of a fleet who it is, and say how the fleet is.

    Returns `ok` (somebody answers calls), `components` (`rust_workers`, `python_workers`, `npu`, `matlab`, each with
    `ok`, `reason` when not, and details), `broker` (`url` without the password, `state`, `max_payload` in bytes) and
    `sdk` (`transport` and why it was chosen). Raises UnavailableError when the broker cannot be asked.
    """
    from npufleet import _engine

    workers = [_worker(answer) for answer in await fleet.control.ask_workers("INFO")]
    components = {
        "rust_workers": _engine_component("rust", workers),
        "python_workers": _engine_component("python", workers),
        "npu": npu(workers),
        "matlab": matlab(),
    }
    return {
        "ok": components["rust_workers"]["ok"] or components["python_workers"]["ok"],
        "components": components,
        "broker": {"url": fleet.options.url, "state": fleet.state, "max_payload": fleet.max_payload},
        "sdk": {"transport": fleet.transport, "reason": _engine.reason()},
    }


def npu(workers: Sequence[Report]) -> Report:
    """Say whether any worker has an NPU; where none has, every reason that was given."""
    seen = [(worker, device) for worker in workers for device in worker["devices"] if device.get("name") == "NPU"]
    holders = [_place(worker) | {"device": device} for worker, device in seen if device.get("available")]
    if holders:
        return {"ok": True, "count": len(holders), "workers": holders}
    reasons = [device["reason"] for _, device in seen if device.get("reason")]
    if not workers:
        here = "has" if _accelerators() else "shows no"
        reasons = [f"no worker runs that could use one; this host {here} device under {ACCELERATORS}"]
    elif not reasons:
        reasons = ["no worker reports one"]
    return {"ok": False, "count": 0, "reason": "; ".join(dict.fromkeys(reasons))}


def matlab() -> Report:
    """Say whether MATLAB is installed on this host; no operation uses it in this version."""
    executable = shutil.which("matlab")
    package = find_spec("matlab") is not None
    if executable is None and not package:
        return {"ok": False, "reason": "no matlab executable on PATH and no matlabengine package on this host"}
    return {"ok": True, "executable": executable, "engine_package": package}


def _engine_component(engine: str, workers: Sequence[Report]) -> Report:
    own = [worker for worker in workers if worker["engine"] == engine]
    if own:
        return {"ok": True, "count": len(own), "workers": own}
    return {"ok": False, "count": 0, "reason": f"no {engine} worker answers on this broker", "workers": []}


def _worker(answer: Report) -> Report:
    """Keep of a worker's INFO what a person asks for."""
    metadata = answer.get("metadata") or {}
    subjects = [str(endpoint["name"]) for endpoint in answer.get("endpoints") or ()]
    return {
        "id": answer.get("id"),
        "engine": metadata.get("engine"),
        "version": answer.get("version"),
        "host": metadata.get("host"),
        "pid": _integer(metadata.get("pid")),
        "devices": _devices(metadata.get("devices")),
        "operations": sorted({name for name in subjects if not name.startswith("infer-")}),
        "models": sorted({name.removeprefix("infer-") for name in subjects if name.startswith("infer-")}),
    }


def _devices(text: str | None) -> list[Report]:
    try:
        devices = json.loads(text or "[]")
    except ValueError:
        return []
    return [device for device in devices if isinstance(device, dict)]


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _place(worker: Report) -> Report:
    return {name: worker[name] for name in ("id", "engine", "host", "pid")}


def _accelerators() -> bool:
    return ACCELERATORS.is_dir() and any(ACCELERATORS.iterdir())
