"""The options by which every command finds its broker, and the fleet that they lead to."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from npufleet.broker import announcement
from npufleet.cli import console

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from npufleet.fleet import AsyncFleet
    from npufleet.opening import Opening

Value = TypeVar("Value")

_OPTIONS = {
    "url": "Address of the broker. Default: the fleet that `npufleet up` runs here, or nats://127.0.0.1:4222.",
    "user": "User name for the broker.",
    "password": "Password of the user; better given as the variable, which no process list shows.",
    "token": "Token for the broker; better given as the variable.",
    "credentials": "NATS credentials file.",
    "tls_ca": "PEM file with the authority that signed the broker's certificate.",
    "tls_certificate": "PEM file with our certificate.",
    "tls_key": "PEM file with our key.",
}


@dataclass(frozen=True)
class Connection:
    """How to reach the broker, by the names of the options; what is None comes from the environment or a default."""

    given: Mapping[str, Any]

    def open(self) -> Opening[AsyncFleet]:
        """Connect: `async with connection.open() as fleet`."""
        from npufleet.fleet import AsyncFleet

        url = self.given["url"] or announcement.read(announcement.default_path())
        return AsyncFleet.connect(**{**self.given, "url": url})

    def ask(self, question: Callable[[AsyncFleet], Awaitable[Value]], *, as_json: bool) -> Value:
        """Connect, ask the fleet one thing and return its answer; an error ends the command, see `console.run`."""

        async def work() -> Value:
            async with self.open() as fleet:
                return await question(fleet)

        return console.run(work(), as_json=as_json)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its parameter `connection`, the options that every command has for it."""
    signature = inspect.signature(command, eval_str=True)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "connection"]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        connection = Connection({name: given.pop(name) for name in _OPTIONS})
        command(**given, connection=connection)

    with_options.__signature__ = signature.replace(parameters=[*kept, *parameters()])  # type: ignore[attr-defined]
    with_options.__annotations__ = {}
    return with_options


def parameters() -> list[inspect.Parameter]:
    """Return the connection options as parameters of a command."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(
                    f"--{name.replace('_', '-')}",
                    envvar=f"NPUFLEET_{name.upper()}",
                    help=text,
                ),
            ],
        )
        for name, text in _OPTIONS.items()
    ]
