"""`npufleet dead`: jobs that failed for good."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from npufleet.cli import console
from npufleet.cli.connection import Connection, connected
from npufleet.cli.jobs import JobId, resubmitted

if TYPE_CHECKING:
    from npufleet.jobs.dead import DeadLetter

app = typer.Typer(
    help="Look at jobs that failed for good, submit them again, or throw them away.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
@connected
def list_(
    *,
    operation: Annotated[str | None, typer.Option(help="Jobs of this operation only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the oldest ones.")] = 100,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """List dead letters, the oldest first."""
    letters = connection.ask(lambda fleet: fleet.jobs.dead.list(operation=operation, limit=limit), as_json=as_json)
    if as_json:
        console.document({"ok": True, "dead": [asdict(letter) for letter in letters]})
    elif letters:
        console.people().print(_table(letters))
    else:
        typer.echo("no dead letters")


@app.command()
@connected
def show(*, job_id: JobId, as_json: console.Json = False, connection: Connection) -> None:
    """Show a dead letter with its whole history."""
    letter = connection.ask(lambda fleet: fleet.jobs.dead.show(job_id), as_json=as_json)
    if as_json:
        console.document({"ok": True, **asdict(letter)})
    else:
        console.people().print(_details(letter))


@app.command()
@connected
def replay(*, job_id: JobId, as_json: console.Json = False, connection: Connection) -> None:
    """Submit a dead letter's job again as a new job, remove the letter, and print the new job's id."""
    again = connection.ask(lambda fleet: fleet.jobs.dead.replay(job_id), as_json=as_json)
    resubmitted(job_id, again, as_json=as_json)


@app.command()
@connected
def purge(
    *,
    job_id: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Id of one job.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of them.")] = False,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Remove one dead letter, or all of them, with what they carry."""
    if (job_id is None) != everything:
        raise console.usage("give the id of a job, or --all")
    count = connection.ask(lambda fleet: fleet.jobs.dead.purge(job_id), as_json=as_json)
    if as_json:
        console.document({"ok": True, "removed": count})
    else:
        typer.echo(f"removed {count}")


def _table(letters: list[DeadLetter]) -> Any:
    from rich.table import Table

    table = Table("job", "operation", "attempts", "died", "why", box=None, padding=(0, 2, 0, 0))
    for letter in letters:
        operation = ".".join(filter(None, (letter.operation, letter.model)))
        why = f"{letter.error_kind}: {letter.message}"
        table.add_row(letter.job_id, operation, str(letter.attempt), _time(letter.at), why)
    return table


def _details(letter: DeadLetter) -> Any:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    operation = ".".join(filter(None, (letter.operation, letter.model)))
    table.add_row("job", f"{letter.job_id}: {operation}, {letter.size} bytes")
    table.add_row("died", f"{_time(letter.at)} after {letter.attempt} attempts")
    table.add_row("why", f"{letter.error_kind}: {letter.message}")
    for event in letter.history:
        error = event.get("error") or {}
        why = f" {error['kind']}: {error['message']}" if error else ""
        said = f"attempt {event['attempt']} {event['state']} by {event['engine']} worker {event['worker']}"
        table.add_row(_time(event["at"] / 1e6), said + why)
    return table


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="milliseconds")
