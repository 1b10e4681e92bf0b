"""`npufleet health`: the four components, and why those that are absent are absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from npufleet.cli import console, exit_codes
from npufleet.cli.connection import Connection, connected

if TYPE_CHECKING:
    from rich.table import Table

NAMES = {"rust_workers": "Rust workers", "python_workers": "Python workers", "npu": "NPU", "matlab": "MATLAB"}


@connected
def health(
    *,
    clean: Annotated[bool, typer.Option(help="First remove the shared memory of processes that are dead.")] = False,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Say how the fleet is: Rust workers, Python workers, NPU, MATLAB. Exit status 3 when nobody answers calls."""
    removed = _clean(as_json=as_json) if clean else []
    report = connection.ask(lambda fleet: fleet.health(), as_json=as_json)
    if as_json:
        console.document(report | ({"removed": removed} if clean else {}))
    else:
        console.people().print(_table(report))
    if not report["ok"]:
        raise typer.Exit(exit_codes.UNAVAILABLE)


def _clean(*, as_json: bool) -> list[dict[str, Any]]:
    """Remove the arenas of dead processes, and say which and how large they were."""
    from npufleet.payload import folder

    found = folder.clean()
    if not as_json:
        total = sum(size for _, size in found)
        console.people().print(f"removed {len(found)} arenas of dead processes, {total} bytes")
    return [{"arena": name, "bytes": size} for name, size in found]


def _table(report: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, component in report["components"].items():
        state = Text("ok", style="green") if component["ok"] else Text("absent", style="yellow")
        table.add_row(NAMES[key], state, _detail(key, component))
    broker, sdk = report["broker"], report["sdk"]
    table.add_row(
        "Broker", Text(broker["state"], style="green"), f"{broker['url']}, {broker['max_payload']} bytes a message"
    )
    table.add_row("SDK", Text(sdk["transport"], style="green"), sdk["reason"])
    return table


def _detail(key: str, component: dict[str, Any]) -> str:
    if not component["ok"]:
        return str(component["reason"])
    if key == "matlab":
        return str(component["executable"] or "the matlabengine package")
    return "\n".join(_worker(worker) for worker in component["workers"])


def _worker(worker: dict[str, Any]) -> str:
    if "device" in worker:  # of the NPU's row
        name = worker["device"].get("full_name") or "NPU"
        return f"{name} on {worker['host']}, {worker['engine']} worker {worker['pid']}"
    devices = ", ".join(device["name"] for device in worker["devices"] if device.get("available"))
    serves = ", ".join(worker["operations"] + [f"infer {name}" for name in worker["models"]])
    return f"{worker['host']} pid {worker['pid']} on {devices or 'no device'}: {serves or 'nothing yet'}"
