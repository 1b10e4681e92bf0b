"""`npufleet trace`: one request's spans as a tree with times."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  typer reads the annotations at run time
from typing import Annotated

import typer

from npufleet.cli import console, exit_codes


def trace(
    trace_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Trace id, or its first digits.")] = None,
    last: Annotated[bool, typer.Option("--last", help="The newest trace; the default without an id.")] = False,
    directory: Annotated[
        Path | None,
        typer.Option(envvar="NPUFLEET_TRACE_DIR", help="Folder of the trace files.", show_default=False),
    ] = None,
    as_json: console.Json = False,
) -> None:
    """Show a trace that was written to local files: every hop of one request."""
    from npufleet.telemetry import tree

    if trace_id is not None and last:
        raise console.usage("give an id or --last, not both")
    try:
        found = tree.last(directory) if trace_id is None else tree.find(trace_id, directory)
    except ValueError as error:
        raise console.usage(str(error)) from error
    if found is None:
        _nothing(trace_id, as_json=as_json)
    elif as_json:
        console.document({"ok": True, "trace_id": found.trace_id, "spans": found.to_dicts()})
    else:
        console.people().print(found.render())


def _nothing(trace_id: str | None, *, as_json: bool) -> None:
    what = "no traces are in the local files" if trace_id is None else f"no trace {trace_id} is in the local files"
    message = f"{what}; a call is traced with OTEL_TRACES_SAMPLER=always_on and no OTLP endpoint set"
    if as_json:
        console.document({"ok": False, "error": {"kind": "not_found", "code": 404, "message": message}})
    else:
        console.complain("not_found", message)
    raise typer.Exit(exit_codes.FAILED)
