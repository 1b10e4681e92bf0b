"""`npufleet worker`: one worker in the foreground, with the options of `python -m npufleet.worker`."""

from __future__ import annotations

from typing import Any, Final

import typer

PASS_ON: Final[dict[str, Any]] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}
"""How to register the command: everything after its name, `--help` included, is the worker's own."""


def worker(context: typer.Context) -> None:
    """Run one worker (--engine rust or python) until it is told to stop; `npufleet worker --help` shows its options."""
    from npufleet.worker.__main__ import main

    raise typer.Exit(main(context.args))
