"""How commands talk: tables and progress for people, one JSON document with --json, one line for an error."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from npufleet.cli import exit_codes
from npufleet.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from rich.console import Console

Value = TypeVar("Value")

PLAIN_WIDTH = 200
"""Columns for a reader that is no terminal, such as a file."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]


def people() -> Console:
    """Return the console for people: standard output, plain when it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def document(value: object) -> None:
    """Print one JSON document. A number that is not finite is written as `"NaN"`, `"Infinity"` or `"-Infinity"`."""
    sys.stdout.write(json.dumps(_finite(value), indent=2 if sys.stdout.isatty() else None, allow_nan=False) + "\n")


def run(work: Coroutine[Any, Any, Value], *, as_json: bool = False) -> Value:
    """Run a command's asynchronous part to its end; its errors end the command as `errors` does."""
    import asyncio

    with errors(as_json=as_json):
        return asyncio.run(work)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def errors(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error of the fleet into one line, or one JSON document, and the exit status of its kind."""
    try:
        yield
    except FleetError as error:
        if as_json:
            document({"ok": False, "error": {"kind": error.kind, "code": error.code, "message": str(error)}})
        else:
            complain(error.kind, str(error))
        raise typer.Exit(exit_codes.BY_KIND.get(error.kind, exit_codes.FAILED)) from error
    except KeyboardInterrupt:
        raise typer.Exit(exit_codes.INTERRUPTED) from None


@contextlib.contextmanager
def transfer(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error while bytes go out; gives what to call with those sent and those in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)

        def sent(done: int, total: int) -> None:
            finished = "loading on the workers" if done >= total else what
            progress.update(task, completed=done, total=total, description=finished)

        yield sent


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on standard error, if it is a terminal, that something takes its time."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


@contextlib.contextmanager
def progress(what: str, *, shown: bool) -> Iterator[Callable[[str, float | None], None] | None]:
    """Show on standard error, if it is a terminal, how far something is; gives what to call with state and share.

    Gives None where nothing is shown. A share that is not known is None.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def update(state: str, share: float | None) -> None:
            # Without a total the bar only says that something goes on.
            bar.update(
                task, description=f"{what} {state}", total=None if share is None else 1.0, completed=share or 0.0
            )

        yield update


def complain(kind: str, message: str) -> None:
    """Print the first line of an error, its kind before it, to standard error."""
    typer.secho(f"{kind}: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(message.partition("\n")[0], err=True)


def usage(message: str) -> typer.BadParameter:
    """Build the error for wrong use of a command (exit status 2)."""
    return typer.BadParameter(message)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
