"""`npufleet queues`: what waits in each lane."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from npufleet.cli import console
from npufleet.cli.connection import Connection, connected

if TYPE_CHECKING:
    from npufleet.jobs.listing import QueueStatus

app = typer.Typer(help="Show what waits in each lane, or make the streams that jobs need.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
@connected
def queues(*, context: typer.Context, as_json: console.Json = False, connection: Connection) -> None:
    """Show the jobs of each lane: waiting, running, delivered more than once, and the age of the oldest."""
    if context.invoked_subcommand is not None:
        return
    found = connection.ask(lambda fleet: fleet.jobs.queues(), as_json=as_json)
    if as_json:
        console.document({"ok": True, "queues": [asdict(each) for each in found]})
    else:
        console.people().print(_table(found))


@app.command()
@connected
def create(
    *,
    replicas: Annotated[int, typer.Option(min=1, max=5, help="How many nodes of a cluster keep a copy.")] = 1,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Create the streams and consumers that are missing; what is there is left alone."""
    connection.ask(lambda fleet: fleet.jobs.create_streams(replicas=replicas), as_json=as_json)
    if as_json:
        console.document({"ok": True})
    else:
        typer.echo("the streams of jobs are there")


def _table(found: list[QueueStatus]) -> Any:
    from rich.table import Table

    columns = ("lane", "waiting", "running", "redelivered", "handed over", "oldest")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for each in found:
        oldest = "" if each.oldest is None else f"{each.oldest:.1f} s"
        counts = (each.waiting, each.running, each.redelivered, each.handed_over)
        table.add_row(each.lane, *map(str, counts), oldest)
    return table
