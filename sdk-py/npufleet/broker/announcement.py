"""Where a fleet started by `npufleet up` can be found by the same user's other commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "NPUFLEET_ADDRESS_FILE"


def default_path() -> Path:
    """Return $NPUFLEET_ADDRESS_FILE, or a file in the user's runtime folder, or in the state folder."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    folder = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("XDG_STATE_HOME")
    return Path(folder or Path.home() / ".local" / "state", "npufleet", "address.json")


def write(path: Path, url: str) -> None:
    """Write the address, which holds a password, so that only this user can read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"url": url, "pid": os.getpid()}, file)
    fresh.replace(path)


def read(path: Path) -> str | None:
    """Return the address if the process that wrote it still runs, else None."""
    try:
        said = json.loads(path.read_text("utf-8"))
        os.kill(said["pid"], 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return str(said["url"])


def remove(path: Path) -> None:
    """Remove the announcement if this process wrote it; another fleet may have taken its place."""
    try:
        if json.loads(path.read_text("utf-8"))["pid"] == os.getpid():
            path.unlink()
    except FileNotFoundError:
        return  # we had not come so far
