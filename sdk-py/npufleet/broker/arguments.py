"""The supervisor's options, as an object and as command line arguments that carry it to the process."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Options:
    """What to run. Times are in seconds.

    `port` -1 is a free one; `store` None is a temporary folder; the address is written to the file `announce`;
    `parent` is the process to end with; `worker_options` go to every worker.
    """

    workers: tuple[str, ...] = ("rust", "python")
    port: int = -1
    store: Path | None = None
    announce: Path | None = None
    parent: int | None = None
    start_timeout: float = 60.0
    drain_timeout: float = 10.0
    worker_options: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """Return the command line arguments that `parse` makes these options of."""
        words = ["--workers", ",".join(self.workers), "--port", str(self.port)]
        words += ["--start-timeout", f"{self.start_timeout:g}", "--drain-timeout", f"{self.drain_timeout:g}"]
        for name in ("store", "announce", "parent"):
            value = getattr(self, name)
            words += [f"--{name}", str(value)] if value is not None else []
        for name, value in self.worker_options.items():
            words += ["--worker-option", f"{name}={value}"]
        return words


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; ends the process with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="npufleet.broker.supervisor", description="Run a broker and its workers.")
    parser.add_argument("--workers", default="rust,python", help="engines, separated by commas")
    parser.add_argument("--port", type=int, default=-1, help="port of the broker; -1: a free one")
    parser.add_argument("--store", type=Path, help="folder of the model registry; default: a temporary one")
    parser.add_argument("--announce", type=Path, help="file to write the fleet's address to")
    parser.add_argument("--parent", type=int, help="process id to end with")
    parser.add_argument("--start-timeout", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--drain-timeout", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--worker-option", action="append", default=[], type=_pair, metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true", help="events as JSON lines, the only form there is")
    given = vars(parser.parse_args(arguments))
    given.pop("json")
    given["workers"] = tuple(name for name in given["workers"].split(",") if name)
    given["worker_options"] = dict(given.pop("worker_option"))
    return Options(**given)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"worker option is {text!r}; allowed: NAME=VALUE")
    return name, value
