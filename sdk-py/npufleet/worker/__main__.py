"""`python -m npufleet.worker`: run one worker until it is told to stop."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from importlib import import_module
from typing import NoReturn

from npufleet.errors import FleetError
from npufleet.worker import options


def main(arguments: list[str] | None = None) -> int:
    """Run a worker of the chosen engine and return the exit code: 0 when it drained, else 1 or 2 with one line why."""
    parsed = options.parse(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        return _rust(parsed) if parsed.engine == "rust" else _python(parsed)
    except FleetError as error:
        print(f"npufleet worker: {error}", file=sys.stderr)
        return 1


def _rust(parsed: options.Options) -> int:
    try:
        # Nothing of the Python worker is imported: what runs from here on is Rust.
        native = import_module("npufleet._native")
    except ImportError as error:
        print(
            f"npufleet worker: no compiled extension here ({error}); build it with `pip install .` where Rust is, "
            "or use --engine python",
            file=sys.stderr,
        )
        return 2
    native.run_worker(parsed.rust_config())
    return 0


def _python(parsed: options.Options) -> int:
    from npufleet.worker.main import run

    return run(parsed)


def leave(code: int) -> NoReturn:
    """End the process as `sys.exit` does, but do not wait for daemon threads or take the interpreter down.

    With SciPy and OpenVINO loaded, or still loading, that takes seconds, while whoever stopped the worker waits.
    """
    atexit._run_exitfuncs()  # as multiprocessing does before the same step
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads, or it is closed
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
