"""`npufleet call`: one subcommand per operation, made of the contract's rows."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from npufleet.cli import console
from npufleet.cli.connection import Connection, connected

if TYPE_CHECKING:
    from collections.abc import Callable

    from npufleet.result import Result
    from npufleet.wire.contract import Operation, Parameter, TensorRow

TYPES: Final[dict[str, Any]] = {
    "integer": int,
    "number": float,
    "boolean": bool,
    "string": str,
    "numbers": list[float],
    "steps": str,
}

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="[NAME[:DTYPE]=]SOURCE",
        help="Array: a .npy, .csv or .json file, - for standard input, or JSON such as x='[1, 2, 3]'. May be repeated.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="Registered model to run.")]
Params = Annotated[
    list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="Any parameter, by name.")
]
Outputs = Annotated[
    list[str] | None,
    typer.Option("--output", "-o", metavar="[NAME=]FILE", help="Write an array to a .npy, .csv or .json file, or - ."),
]
Lane = Annotated[str | None, typer.Option(help="Priority: realtime, critical, high, normal or low.")]
Timeout = Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the answer.")]


class Operations(TyperGroup):
    """The contract's operations as commands, built when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the operations."""
        from npufleet.wire import contract

        return sorted(contract.OPERATIONS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Build the command of one operation, None when there is no such operation."""
        from npufleet.wire import contract

        if cmd_name not in contract.OPERATIONS:
            return None
        row = contract.operation(cmd_name)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, help=row.summary, epilog=_tensors_help(row))(command_of(row))
        return typer.main.get_command(single)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; an operation that does not exist is refused as the fleet would refuse it."""
        from npufleet.wire import contract

        if args and not args[0].startswith("-"):
            with console.errors(as_json="--json" in args):
                contract.operation(args[0])
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Operations,
    help="Run one operation on the fleet. `npufleet call OPERATION --help` shows its inputs and parameters.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    pass


def command_of(row: Operation) -> Callable[..., None]:
    """Build the function of one operation's command: the options of all, and one per parameter."""
    options = {parameter: _option(parameter) for parameter in row.parameters.values()}

    def command(*, connection: Connection, as_json: bool, lane: str | None, timeout: float, **given: Any) -> None:
        params = {parameter.name: given[f"param_{parameter.name}"] for parameter in options}
        params = {name: value for name, value in params.items() if value not in (None, [])} | pairs(given["params"])
        params |= {
            each.name: _steps(params[each.name]) for each in options if each.type == "steps" and each.name in params
        }
        _run(row, connection, given, params, timeout=timeout, lane=lane, as_json=as_json)

    shared = [
        _parameter("inputs", Inputs, None),
        *([_parameter("model", Model, inspect.Parameter.empty)] if row.model else []),
        *(_parameter(f"param_{each.name}", option, None) for each, option in options.items()),
        _parameter("params", Params, None),
        _parameter("outputs", Outputs, None),
        _parameter("lane", Lane, None),
        _parameter("timeout", Timeout, 30.0),
        _parameter("as_json", console.Json, False),
        _parameter("connection", Connection, inspect.Parameter.empty),
    ]
    command.__signature__ = inspect.Signature(shared)  # type: ignore[attr-defined]
    command.__annotations__ = {}
    return connected(command)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _option(row: Parameter) -> Any:
    flag = f"--{row.name.replace('_', '-')}"
    declared = f"{flag}/--no-{flag[2:]}" if row.type == "boolean" else flag
    default = "" if row.default is None else f" Default: {json.dumps(row.default).strip(chr(34))}."
    default = " Required." if row.required else default
    unit = f" {row.unit}" if row.unit else ""
    text = f"{row.summary} Allowed: {row.allowed}{unit}.{default}"
    return Annotated[TYPES[row.type] | None, typer.Option(declared, help=text)]


def _tensors_help(row: Operation) -> str:
    return f"Inputs: {_rows_help(row.inputs)} Outputs: {_rows_help(row.outputs)}"


def _rows_help(rows: tuple[TensorRow, ...] | None) -> str:
    if rows is None:
        return "any arrays by any names."
    if not rows:
        return "none."
    return " ".join(f"{row.shown} ({', '.join(row.dtypes)}): {row.summary}" for row in rows)


def _steps(given: object) -> Any:
    """Read steps as they are typed: JSON, or the path of a .json file."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(Path(given).read_bytes() if given.endswith(".json") else given)
    except (OSError, ValueError) as error:
        raise console.usage(f"steps are {given[:80]!r}: {error}; allowed: JSON, or a .json file") from error


def pairs(texts: list[str] | None) -> dict[str, Any]:
    """Read `NAME=VALUE` options; a value is JSON, or a text where it is none."""
    pairs: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise console.usage(f"parameter is {text!r}; allowed: NAME=VALUE")
        try:
            pairs[name] = json.loads(value)
        except json.JSONDecodeError:
            pairs[name] = value
    return pairs


def _run(
    row: Operation,
    connection: Connection,
    given: dict[str, Any],
    params: dict[str, Any],
    *,
    timeout: float,
    lane: str | None,
    as_json: bool,
) -> None:
    from npufleet.cli import tensors

    arrays = tensors.read_inputs(row, given["inputs"] or ())
    # A call typed by a person is one that a person may want to look into.
    os.environ.setdefault("OTEL_TRACES_SAMPLER", "always_on")

    chosen = {} if lane is None else {"lane": lane}
    with console.waiting(f"{row.name} on the fleet"):
        result = connection.ask(
            lambda fleet: fleet.call(row.name, arrays, params, model=given.get("model"), timeout=timeout, **chosen),
            as_json=as_json,
        )
    written = tensors.write_outputs(dict(result), given["outputs"] or ())
    if as_json:
        console.document(document(row.name, result, written))
    elif "-" not in written.values():
        show(result, written)


def document(operation: str, result: Result, written: dict[str, str]) -> dict[str, Any]:
    """Return a result as one JSON document; arrays that were written to files are named by those."""
    from npufleet.cli import tensors

    outputs = {}
    for name, array in result.items():
        described = {"dtype": str(array.dtype), "shape": list(array.shape)}
        content = {"file": written[name]} if name in written else {"data": tensors.plain(array).tolist()}
        outputs[name] = described | content
    return {
        "ok": True,
        "operation": operation,
        "outputs": outputs,
        "params": dict(result.params),
        "engine": result.engine,
        "device": result.device,
        "fallback_reason": result.fallback_reason,
        "timing": _timing(result),
        "trace_id": result.trace_id,
    }


def _timing(result: Result) -> dict[str, int] | None:
    """Return the microseconds that the worker reports, by stage."""
    timing = result.timing
    if timing is None:
        return None
    return {stage: getattr(timing, stage) for stage in ("queued", "fetching", "batching", "executing")}


def show(result: Result, written: dict[str, str]) -> None:
    """Print a result for people."""
    import numpy as np

    for name, array in result.items():
        shown = (
            f"-> {written[name]}" if name in written else np.array2string(array, threshold=8, edgeitems=3, precision=6)
        )
        typer.echo(f"{name}: {array.dtype}{list(array.shape)} {shown}")
    spent = ", ".join(f"{stage} {microseconds} us" for stage, microseconds in (_timing(result) or {}).items())
    typer.echo(f"by the {result.engine} engine on {result.device}" + (f" ({spent})" if spent else ""))
    if result.fallback_reason:
        typer.echo(f"fallback: {result.fallback_reason}")
    if result.trace_id:
        typer.echo(f"trace: npufleet trace {result.trace_id}")
