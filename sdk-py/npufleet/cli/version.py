"""`npufleet version`: the package and what it stands on."""

from __future__ import annotations

import platform
from typing import Any

import typer

from npufleet.cli import console
from npufleet.errors import FleetError


def version(as_json: console.Json = False) -> None:
    """Print the versions of npufleet, its extension, OpenVINO and nats-server."""
    found = versions()
    if as_json:
        console.document(found)
        return
    for name, value in found.items():
        missing = isinstance(value, dict)
        typer.echo(f"{name:<12} {'none: ' + value['reason'] if missing else value}")


def versions() -> dict[str, Any]:
    """Return each version by name; what is missing is an object with `version` None and the `reason`."""
    from npufleet import _engine
    from npufleet.broker import server

    try:
        native = _engine.native_or_none()
        extension: Any = native.version() if native is not None else _none(_engine.reason())
    except FleetError as error:
        extension = _none(str(error))
    try:
        broker: Any = server.server_version()
    except (FleetError, OSError) as error:
        broker = _none(str(error))
    return {
        "npufleet": package_version(),
        "extension": extension,
        "openvino": _distribution("openvino"),
        "nats-server": broker,
        "python": platform.python_version(),
    }


def package_version() -> str:
    """Return the version of this package."""
    from npufleet import __version__

    return __version__


def _distribution(name: str) -> Any:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _none(f"package {name} is not installed")


def _none(reason: str) -> dict[str, Any]:
    return {"version": None, "reason": reason}
