"""Which workers a local fleet runs, by which command and in which environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from npufleet.broker.configuration import USER
from npufleet.errors import InvalidParameterError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENGINES: Final = ("rust", "python")

WORKER_OPTIONS: Final = ("queue_limit", "executors", "devices", "threads", "cache_dir", "openvino_library")
"""Options of a worker that a local fleet hands on, to every worker alike."""

_CONNECTION: Final = (
    *("URL", "USER", "PASSWORD", "TOKEN", "CREDENTIALS", "INBOX_PREFIX", "PREFIX"),
    *("TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"),
)


@dataclass(frozen=True)
class Plan:
    """Commands by child name, and what the user should know about them."""

    commands: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check(engines: Sequence[str], options: Mapping[str, object]) -> None:
    """Refuse engines and worker options that do not exist, by name (InvalidParameterError)."""
    for engine in engines:
        if engine not in ENGINES:
            raise InvalidParameterError(f"worker is {engine!r}; allowed: {', '.join(ENGINES)}")
    for name in options:
        if name not in WORKER_OPTIONS:
            raise InvalidParameterError(f"unknown worker option {name!r}; allowed: {', '.join(WORKER_OPTIONS)}")


def plan(engines: Sequence[str], options: Mapping[str, str], drain_timeout: float) -> Plan:
    """Decide what to start for `engines` (children are named `rust`, `rust-2`, ...).

    Where no Rust worker can run, the Python worker serves the call subjects too, so that any NATS client is answered.
    Raises UnavailableError when nothing is left to run.
    """
    check(engines, options)
    made = Plan()
    wanted = list(engines)
    primary = False
    if "rust" in wanted and (missing := why_no_rust()) is not None:
        wanted = [engine for engine in wanted if engine != "rust"]
        if not wanted:
            raise UnavailableError(f"no Rust worker can run: {missing}")
        primary = True
        made.notes.append(f"no Rust worker: {missing}; the Python worker serves the call subjects too")
    for index, engine in enumerate(wanted):
        earlier = wanted[:index].count(engine)
        name = engine if earlier == 0 else f"{engine}-{earlier + 1}"
        made.commands[name] = command(engine, options, drain_timeout, primary=primary)
    return made


def command(engine: str, options: Mapping[str, str], drain_timeout: float, *, primary: bool) -> list[str]:
    """Return the command line of one worker; credentials are not in it, since anybody may read it."""
    binary = os.environ.get("NPUFLEET_WORKER_BINARY")
    if engine == "rust" and binary:
        words = [binary]
    else:
        # -P: a file called json.py in the current folder is not to be imported in place of the real one.
        words = [sys.executable, "-P", "-m", "npufleet.worker", "--engine", engine]
    words += ["--json", "--drain-timeout", f"{drain_timeout:g}"]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", value]
    return [*words, "--primary"] if primary else words


def environment(url: str, password: str) -> dict[str, str]:
    """Return our environment, with the connection replaced: nothing of it may lead a worker to another broker."""
    ours = {f"NPUFLEET_{name}" for name in _CONNECTION}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"NPUFLEET_URL": url, "NPUFLEET_USER": USER, "NPUFLEET_PASSWORD": password}


def why_no_rust() -> str | None:
    """Say why no Rust worker can run here; None when one can."""
    from npufleet import _engine

    if os.environ.get("NPUFLEET_NATIVE") != "off" and os.environ.get("NPUFLEET_WORKER_BINARY"):
        return None
    native = _engine.native_or_none()
    if native is None:
        return _engine.reason()
    return None if hasattr(native, "run_worker") else "the compiled core was built without the worker"
