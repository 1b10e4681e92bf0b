"""`npufleet worker`: one worker in the foreground, with the options of `python -m npufleet.worker`."""

from __future__ import annotations

import os
from typing import Any, Final

import typer

from npufleet.broker import announcement

PASS_ON: Final[dict[str, Any]] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}
"""How to register the command: everything after its name, `--help` included, is the worker's own."""


def worker(context: typer.Context) -> None:
    """Run one worker (--engine rust or python) until it is told to stop; `npufleet worker --help` shows its options.

    Without an address it joins the fleet that `npufleet up` runs here.
    """
    from npufleet.worker.__main__ import main

    address = announcement.read(announcement.default_path())
    if address is not None and not any(word.split("=")[0] == "--url" for word in context.args):
        os.environ.setdefault("NPUFLEET_URL", address)
    raise typer.Exit(main(context.args))
