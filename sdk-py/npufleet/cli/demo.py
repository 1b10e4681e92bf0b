"""`npufleet demo`: the main job on real input."""

from __future__ import annotations

import typer

from npufleet.cli import console


def demo(as_json: console.Json = False) -> None:
    """Start a local fleet, work on real recordings and models, kill a worker on the way, and show a trace."""
    with console.errors(as_json=as_json):
        from npufleet.demo import run

        raise typer.Exit(run(as_json=as_json))
