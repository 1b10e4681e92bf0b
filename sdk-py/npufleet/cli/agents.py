"""`npufleet agents`: which agents are there, and asking them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from npufleet.cli import call, console
from npufleet.cli.connection import Connection, connected

if TYPE_CHECKING:
    from npufleet.fleet import AsyncFleet

app = typer.Typer(help="See agents, and ask them.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
@connected
def list_(*, as_json: console.Json = False, connection: Connection) -> None:
    """List the agents that are there, and what each can be asked for."""

    async def ask(fleet: AsyncFleet) -> list[dict[str, Any]]:
        return await fleet.control.ask_services("INFO")

    found = [
        {
            "name": each["name"],
            "id": each["id"],
            "version": each["version"],
            "description": each["description"],
            "actions": [endpoint["name"] for endpoint in each["endpoints"]],
        }
        for each in connection.ask(ask, as_json=as_json)
        if each["metadata"].get("npufleet") == "agent"
    ]
    found.sort(key=lambda each: (each["name"], each["id"]))
    if as_json:
        console.document({"ok": True, "agents": found})
    elif not found:
        typer.echo("no agents")
    for each in () if as_json else found:
        typer.echo(
            f"{each['name']} {each['version']} {', '.join(each['actions']) or '-'} {each['description']}".rstrip()
        )


@app.command("invoke")
@connected
def invoke_(
    *,
    agent: Annotated[str, typer.Argument(help="Name of the agent.")],
    action: Annotated[str, typer.Argument(help="What it is asked for; `npufleet agents list` shows that.")],
    params: call.Params = None,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the answer.")] = 30.0,
    connection: Connection,
) -> None:
    """Ask an agent for an action and print what it gives as one JSON document."""
    from npufleet.agents import invoke, values

    async def ask(fleet: AsyncFleet) -> dict[str, Any]:
        return await invoke(fleet, agent, action, call.pairs(params), timeout=timeout)

    given = connection.ask(ask, as_json=True)
    typer.echo(values.encode("what the agent gave", given, as_json=True))
