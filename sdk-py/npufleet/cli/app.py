"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from npufleet.cli import agents, call, dead, demo, exit_codes, health, jobs, models, queues, trace, up, version, worker

app = typer.Typer(
    name="npufleet",
    help="Tensor operations on a fleet of workers over NATS.",
    epilog=exit_codes.TABLE,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("up")(up.up)
app.command("demo")(demo.demo)
app.command("worker", **worker.PASS_ON)(worker.worker)
app.add_typer(call.app, name="call")
app.add_typer(jobs.app, name="jobs")
app.add_typer(dead.app, name="dead")
app.add_typer(queues.app, name="queues")
app.add_typer(agents.app, name="agents")
app.add_typer(models.app, name="models")
app.command("health")(health.health)
app.command("trace")(trace.trace)
app.command("version")(version.version)


@app.callback(invoke_without_command=True)
def _top(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if show:
        typer.echo(version.package_version())
        raise typer.Exit
