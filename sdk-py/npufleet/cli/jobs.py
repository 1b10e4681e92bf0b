"""`npufleet jobs`: durable jobs."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from npufleet.cli import call, console
from npufleet.cli.connection import Connection, connected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npufleet.jobs.flow import Step
    from npufleet.jobs.job import Job
    from npufleet.jobs.status import JobStatus
    from npufleet.result import Result

app = typer.Typer(
    help="Submit durable jobs, watch them, and get their results.", no_args_is_help=True, rich_markup_mode=None
)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
Wait = Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the result.")]


@app.command()
@connected
def submit(
    *,
    operation: Annotated[str, typer.Argument(help="Operation; `npufleet call OPERATION --help` shows what it takes.")],
    inputs: call.Inputs = None,
    params: call.Params = None,
    model: Annotated[str | None, typer.Option(help="Registered model to run, for infer.")] = None,
    lane: call.Lane = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds until nobody wants the result any more.")] = None,
    retries: Annotated[int | None, typer.Option(help="Attempts after the first.")] = None,
    run_at: Annotated[float | None, typer.Option(help="Seconds until it is to be done.")] = None,
    every: Annotated[str | None, typer.Option(help="Repeat it: a span such as 15m or 1h30m.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key is the same job.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result.")] = False,
    timeout: Wait = 60.0,
    outputs: call.Outputs = None,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Submit a job and print its id, once the broker has stored it."""
    from npufleet.cli import tensors
    from npufleet.wire import contract

    with console.errors(as_json=as_json):
        row = contract.operation(operation)
    arrays = tensors.read_inputs(row, inputs or ())
    chosen = {"lane": lane, "retries": retries, "every": every, "run_at": run_at}
    options: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}

    async def work() -> tuple[str, Result | None]:
        async with connection.open() as fleet:
            job = await fleet.submit(
                operation, arrays, call.pairs(params), model=model, deadline=deadline, idempotency_key=key, **options
            )
            if not wait:
                return job.id, None
            return job.id, await _followed(job, timeout, shown=not as_json)

    _submitted(operation, console.run(work(), as_json=as_json), outputs, as_json=as_json)


@app.command()
@connected
def chain(
    *,
    steps: Annotated[
        list[str],
        typer.Argument(metavar="STEP...", help="Operation and its parameters: 'filter cutoff=0.2', 'infer:MODEL'."),
    ],
    inputs: call.Inputs = None,
    lane: call.Lane = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds until nobody wants the result any more.")] = None,
    retries: Annotated[int | None, typer.Option(help="Attempts of each step after its first.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key is the same chain.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result.")] = False,
    timeout: Wait = 60.0,
    outputs: call.Outputs = None,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Submit jobs that follow each other, each on what the one before gave, and print the chain's id."""
    chosen = {"lane": lane, "retries": retries}
    options: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}

    async def work() -> tuple[str, Result | None]:
        made = [_step(text, inputs if number == 0 else None) for number, text in enumerate(steps)]
        async with connection.open() as fleet:
            job = await fleet.chain(*made, deadline=deadline, idempotency_key=key, **options)
            if not wait:
                return job.id, None
            return job.id, await _followed(job, timeout, shown=not as_json)

    _submitted("chain", console.run(work(), as_json=as_json), outputs, as_json=as_json)


def _step(text: str, inputs: list[str] | None) -> Step:
    from npufleet.cli import tensors
    from npufleet.jobs.flow import Step
    from npufleet.wire import contract

    try:
        first, *params = shlex.split(text)
    except ValueError as error:
        raise console.usage(
            f"step is {text!r}: {error or 'empty'}; allowed: OPERATION[:MODEL] NAME=VALUE..."
        ) from error
    operation, _, model = first.partition(":")
    arrays = tensors.read_inputs(contract.operation(operation), inputs) if inputs else None
    return Step(operation, arrays, call.pairs(params), model=model or None)


def _submitted(operation: str, found: tuple[str, Result | None], outputs: list[str] | None, *, as_json: bool) -> None:
    job_id, result = found
    if result is not None:
        _give(operation, result, outputs, as_json=as_json, job_id=job_id)
    elif as_json:
        console.document({"ok": True, "job_id": job_id})
    else:
        typer.echo(job_id)


@app.command("list")
@connected
def list_(
    *,
    state: Annotated[str | None, typer.Option(help="scheduled, queued, running, succeeded, failed, ...")] = None,
    operation: Annotated[str | None, typer.Option(help="Jobs of this operation only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest ones.")] = 100,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """List jobs, the latest news first."""
    found = connection.ask(
        lambda fleet: fleet.jobs.list(state=state, operation=operation, limit=limit), as_json=as_json
    )
    if as_json:
        console.document({"ok": True, "jobs": [asdict(each) for each in found]})
    elif found:
        console.people().print(_table(found))
    else:
        typer.echo("no jobs; `npufleet jobs submit OPERATION` submits one")


@app.command()
@connected
def show(*, job_id: JobId, as_json: console.Json = False, connection: Connection) -> None:
    """Show what is known about a job."""
    _status(connection.ask(lambda fleet: fleet.job(job_id).status(), as_json=as_json), as_json=as_json)


@app.command()
@connected
def result(
    *,
    job_id: JobId,
    timeout: Wait = 60.0,
    outputs: call.Outputs = None,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Wait for a job's result and show it, or write it to files."""

    async def work() -> tuple[str | None, Result]:
        async with connection.open() as fleet:
            job = fleet.job(job_id)
            found = await _followed(job, timeout, shown=not as_json)
            return (await job.status()).operation, found

    operation, found = console.run(work(), as_json=as_json)
    _give(operation or "", found, outputs, as_json=as_json, job_id=job_id)


@app.command()
@connected
def cancel(*, job_id: JobId, as_json: console.Json = False, connection: Connection) -> None:
    """Cancel a job, wherever it is; what is over stays as it is."""
    _status(connection.ask(lambda fleet: fleet.job(job_id).cancel(), as_json=as_json), as_json=as_json)


@app.command()
@connected
def retry(*, job_id: JobId, as_json: console.Json = False, connection: Connection) -> None:
    """Submit a job that failed for good once more, as a new job, and print its id."""
    resubmitted(job_id, connection.ask(lambda fleet: fleet.jobs.retry(job_id), as_json=as_json), as_json=as_json)


@app.command()
@connected
def watch(*, job_id: JobId, as_json: console.Json = False, connection: Connection) -> None:
    """Print what happens to a job until it is over, a line each."""

    async def work() -> None:
        async with connection.open() as fleet:
            with console.progress(f"job {job_id}", shown=not as_json) as show:
                async for event in fleet.job(job_id).events():
                    if as_json:
                        console.document(asdict(event))
                    elif show is None or event.progress is None:
                        typer.echo(_line(event))
                    if show is not None:
                        show(event.state, event.progress)

    console.run(work(), as_json=as_json)


async def _followed(job: Job, timeout: float, *, shown: bool) -> Result:  # noqa: ASYNC109
    """Wait for a job's result, and show how far it is where somebody looks."""
    import asyncio

    with console.progress(f"job {job.id}", shown=shown) as show:
        if show is None:
            return await job.result(timeout)

        async def follow() -> None:
            async for event in job.events():
                show(event.state, event.progress)

        following = asyncio.ensure_future(follow())
        try:
            return await job.result(timeout)
        finally:
            following.cancel()
            await asyncio.wait({following})


def resubmitted(job_id: str, again: Job, *, as_json: bool) -> None:
    """Print the id of a job that was submitted once more."""
    if as_json:
        console.document({"ok": True, "job_id": again.id, "retry_of": job_id})
    else:
        typer.echo(again.id)


def _give(operation: str, found: Result, outputs: list[str] | None, *, as_json: bool, job_id: str) -> None:
    from npufleet.cli import tensors

    written = tensors.write_outputs(dict(found), outputs or ())
    if as_json:
        console.document(call.document(operation, found, written) | {"job_id": job_id})
    elif "-" not in written.values():
        call.show(found, written)


def _status(status: JobStatus, *, as_json: bool) -> None:
    if as_json:
        console.document({"ok": True, **asdict(status)})
    else:
        typer.echo(_line(status))


def _line(status: JobStatus) -> str:
    what = ".".join(filter(None, (status.operation, status.model)))
    words = [status.job_id, status.state, what, f"attempt {status.attempt}" if status.attempt else ""]
    words += ["" if status.progress is None else f"{status.progress:.0%}"]
    words += [f"by the {status.engine} engine" if status.engine else "", _problem(status)]
    return " ".join(filter(None, words))


def _problem(status: JobStatus) -> str:
    wait = f" (again in {status.retry_after:.1f} s)" if status.retry_after else ""
    return f"{status.error_kind}: {status.message}{wait}" if status.error_kind else ""


def _table(found: Iterable[JobStatus]) -> Any:
    from rich.table import Table

    table = Table("job", "state", "operation", "lane", "attempt", "engine", "", box=None, padding=(0, 2, 0, 0))
    for each in found:
        operation = ".".join(filter(None, (each.operation, each.model)))
        lane, engine = each.lane or "", each.engine or ""
        table.add_row(each.job_id, each.state, operation, lane, str(each.attempt), engine, _problem(each))
    return table
