"""A worker's options: the same names on the command line, in the environment and in the Rust worker's configuration."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from npufleet.transport.options import ConnectOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ENGINES: Final = ("python", "rust")
DEVICES: Final = ("NPU", "GPU", "CPU")

_CONNECTION: Final = {
    "url": "address of the broker, nats://host[:port] or tls://host[:port]",
    "user": "user name for the broker",
    "password": "password of the user; better given as NPUFLEET_PASSWORD, which no process list shows",
    "token": "token for the broker; better given as NPUFLEET_TOKEN",
    "credentials": "NATS credentials file",
    "tls_ca": "PEM file with the authority that signed the broker's certificate",
    "tls_certificate": "PEM file with this worker's certificate",
    "tls_key": "PEM file with this worker's key",
    "inbox_prefix": "first tokens of this worker's inbox subjects",
}
_FROM_ENVIRONMENT: Final = (*_CONNECTION, "openvino_library", "cache_dir")


@dataclass(frozen=True, slots=True)
class Options:
    """What a worker is told; see the command line's help for each field.

    `executors` and `threads` are counts, 0 meaning one per core; `device_timeout`, `device_retry` and `drain_timeout`
    are seconds.
    """

    engine: str = "python"
    connection: Mapping[str, str] | None = None
    prefix: str = "npu"
    primary: bool = False
    queue_limit: int = 4096
    executors: int = 0
    devices: tuple[str, ...] = DEVICES
    threads: int = 0
    cache_dir: str | None = None
    openvino_library: str | None = None
    json: bool = False
    drain_timeout: float = 30.0
    device_timeout: float = 10.0
    device_retry: float = 30.0

    def connect_options(self, name: str) -> ConnectOptions:
        """Return how to reach the broker, with `name` shown there; raises `InvalidParameterError` for a bad value."""
        return ConnectOptions(**{**(self.connection or {}), "prefix": self.prefix, "name": name})

    def executor_count(self) -> int:
        """Return the number of threads that execute."""
        return self.executors or len(os.sched_getaffinity(0))

    def rust_config(self) -> str:
        """Return the JSON that the Rust worker reads; what is not set is left to its defaults."""
        values = {
            **(self.connection or {}),
            "prefix": self.prefix,
            "queue_limit": self.queue_limit,
            "executors": self.executors,
            "devices": list(self.devices),
            "threads": self.threads,
            "cache_dir": self.cache_dir,
            "openvino_library": self.openvino_library or packaged_openvino(),
            "json": self.json,
            "drain_timeout": self.drain_timeout,
            "device_timeout": self.device_timeout,
            "device_retry": self.device_retry,
        }
        return json.dumps({name: value for name, value in values.items() if value is not None})


def parse(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Options:
    """Read the command line (by default this process's); what it does not say comes from NPUFLEET_* variables.

    Ends the process with a message, as argparse does, when an option is wrong.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.primary and given.engine == "rust":
        parser.error("--primary is for --engine python; a rust worker always serves the call subjects")
    values = vars(given)
    for name in _FROM_ENVIRONMENT:
        values[name] = values[name] or environ.get(f"NPUFLEET_{name.upper()}") or None
    connection = {name: value for name in _CONNECTION if (value := values.pop(name)) is not None}
    return Options(connection=connection, **values)


def packaged_openvino() -> str | None:
    """Return the C library of the `openvino` package that Python would import; only Python knows where that is."""
    package = find_spec("openvino")
    for folder in (package.submodule_search_locations if package is not None else None) or ():
        for library in sorted(Path(folder, "libs").glob("libopenvino_c.so*")):
            return str(library)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m npufleet.worker",
        description="Run one npufleet worker in the foreground until SIGTERM or SIGINT, then drain and end.",
        epilog="Each connection option, --cache-dir and --openvino-library can be given as NPUFLEET_<NAME> instead.",
    )
    add = parser.add_argument
    add("--engine", choices=ENGINES, default="python", help="which implementation (default: python)")
    for name, text in _CONNECTION.items():
        add(f"--{name.replace('_', '-')}", help=text)
    add("--prefix", default="npu", help="first token of every subject (default: npu)")
    add("--primary", action="store_true", help="python only: serve the call subjects too, not only the fallback ones")
    add("--queue-limit", type=_count(1), default=4096, help="requests that may wait (default: 4096)")
    add("--executors", type=_count(0), default=0, help="threads that execute (default: one per core)")
    add("--devices", type=_devices, default=DEVICES, help="order of preference (default: NPU,GPU,CPU)")
    add("--threads", type=_count(0), default=0, help="CPU threads of all models together (default: one per core)")
    add("--cache-dir", help="folder for compiled models (default: none)")
    add("--openvino-library", help="rust only: the libopenvino_c.so to load")
    add("--json", action="store_true", help="print events as JSON lines")
    add("--drain-timeout", type=_seconds, default=30.0, help="seconds to finish accepted requests (default: 30)")
    add("--device-timeout", type=_seconds, default=10.0, help="seconds until a silent NPU or GPU is lost (default: 10)")
    add("--device-retry", type=_seconds, default=30.0, help="seconds until a lost one is tried again (default: 30)")
    return parser


def _count(minimum: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{value} is below {minimum}")
        return value

    return integer


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 86400 seconds")
    return value


def _devices(text: str) -> tuple[str, ...]:
    names = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    wrong = [name for name in names if name not in DEVICES]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: {', '.join(DEVICES)}, separated by commas")
    return names
