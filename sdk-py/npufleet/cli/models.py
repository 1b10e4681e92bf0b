"""`npufleet models`: the registry of models that the fleet serves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003  typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from npufleet.cli import console
from npufleet.cli.connection import Connection, connected
from npufleet.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from npufleet.model_benchmark import Benchmark
    from npufleet.model_info import ModelInfo

app = typer.Typer(help="Add, list, inspect and remove models.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Name of the model: [a-z0-9][a-z0-9_-]{0,63}.")]
Version = Annotated[int | None, typer.Option(min=1, help="Version; see the command for what its absence means.")]


@app.command()
@connected
def add(
    *,
    name: Name,
    path: Annotated[Path, typer.Argument(help="ONNX file, or the .xml of an OpenVINO IR with its .bin beside it.")],
    version: Version = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Most rows in one inference.")] = 32,
    precision: Annotated[str | None, typer.Option(help="f32, f16, bf16 or i8; default: the device's own.")] = None,
    devices: Annotated[str | None, typer.Option(help="Devices to use, in order, such as NPU,CPU.")] = None,
    max_queue_delay: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Seconds that a request may wait for others to fill a batch.")
    ] = 0.0,
    instances: Annotated[
        int | None, typer.Option(min=1, help="Inferences side by side; default: the worker measures.")
    ] = None,
    performance_hint: Annotated[
        str | None, typer.Option(help="latency or throughput; default: the worker measures.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the model registered even if no worker can load it.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait until the workers have loaded it.")] = 60.0,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Upload a model and wait until the workers serve it (version: the next free one)."""
    chosen = None if devices is None else [device.strip().upper() for device in devices.split(",") if device.strip()]

    async def work(progress: Callable[[int, int], None] | None) -> ModelInfo:
        async with connection.open() as fleet:
            return await fleet.models.add(
                name,
                path,
                version=version,
                max_batch=max_batch,
                precision=precision,
                devices=chosen,
                max_queue_delay=max_queue_delay,
                instances=instances,
                performance_hint=performance_hint,
                keep=keep,
                timeout=timeout,
                progress=progress,
            )

    if as_json:
        console.document(asdict(console.run(work(None), as_json=True)) | {"ok": True})
        return
    with console.errors(), console.transfer(f"adding {name}") as progress:
        info = console.run(work(progress))
    console.people().print(_table([info]))


@app.command()
@connected
def serve(
    *,
    name: Name,
    versions: Annotated[str, typer.Option(help="latest, all, or the versions to pin, such as 1,3.")],
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Choose which versions of a model are served and wait until the workers have followed."""
    words = [word.strip() for word in versions.split(",")]
    chosen = [int(word) for word in words] if all(word.isdecimal() for word in words) else versions
    infos = connection.ask(lambda fleet: fleet.models.serve(name, chosen), as_json=as_json)
    if as_json:
        console.document({"ok": True, "models": [asdict(info) for info in infos]})
    else:
        console.people().print(_table(infos))


@app.command("list")
@connected
def list_(*, as_json: console.Json = False, connection: Connection) -> None:
    """List every version of every model with the workers that serve it."""
    infos = connection.ask(lambda fleet: fleet.models.list(), as_json=as_json)
    if as_json:
        console.document({"ok": True, "models": [asdict(info) for info in infos]})
    elif infos:
        console.people().print(_table(infos))
    else:
        typer.echo("no models are registered; `npufleet models add NAME PATH` adds one")


@app.command()
@connected
def info(*, name: Name, version: Version = None, as_json: console.Json = False, connection: Connection) -> None:
    """Show one version of a model: files, settings, inputs and outputs (version: the highest)."""
    found = connection.ask(lambda fleet: fleet.models.info(name, version), as_json=as_json)
    if as_json:
        console.document(asdict(found) | {"ok": True})
    else:
        console.people().print(_details(found))


@app.command()
@connected
def remove(*, name: Name, version: Version = None, as_json: console.Json = False, connection: Connection) -> None:
    """Remove a version of a model and wait until the workers have withdrawn it (version: all of them)."""
    connection.ask(lambda fleet: fleet.models.remove(name, version), as_json=as_json)
    if as_json:
        console.document({"ok": True, "name": name, "version": version})
    else:
        typer.echo(f"removed {name}" + (f" version {version}" if version else ""))


@app.command()
@connected
def benchmark(
    *,
    name: Name,
    version: Version = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of each call.")] = 1,
    requests: Annotated[int, typer.Option(min=1, help="Calls at a time.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.001, help="How long to measure.")] = 5.0,
    shape: Annotated[
        list[str] | None, typer.Option(help="Shape of an input with open dimensions, such as 'x[1,3,48,192]'.")
    ] = None,
    as_json: console.Json = False,
    connection: Connection,
) -> None:
    """Measure how fast a model is served, through the fleet (version: the one that is served)."""
    with console.errors(as_json=as_json):
        shapes = dict(_shape(each) for each in shape or ())
    found = connection.ask(
        lambda fleet: fleet.models.benchmark(
            name, version=version, batch_size=batch_size, requests=requests, seconds=seconds, shapes=shapes
        ),
        as_json=as_json,
    )
    if as_json:
        console.document(asdict(found) | {"ok": True})
    else:
        console.people().print(_measured(found))


def _shape(text: str) -> tuple[str, list[int]]:
    name, _, sizes = text.rstrip("]").rpartition("[")
    numbers = [size.strip() for size in sizes.split(",")]
    if not name or not text.endswith("]") or not all(number.isdecimal() for number in numbers):
        raise InvalidParameterError(f"shape is '{text}'; allowed: a name with sizes, such as x[1,3,48,192]")
    return name, [int(number) for number in numbers]


def _measured(found: Benchmark) -> Any:
    from rich.table import Table

    latency = found.latency
    inputs = ", ".join(f"{name}{list(shape)}" for name, shape in found.shapes.items())
    who = [f"{word} {count}" for word, count in (*found.engines.items(), *found.devices.items())]
    tail = ", ".join(f"{number} %: {value:.3f}" for number, value in latency.percentiles.items())
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("Model", f"{found.model} version {found.version}, {inputs}, {found.requests} calls at a time")
    table.add_row("Answered by", ", ".join(who) + (f", {found.fallbacks} fallbacks" if found.fallbacks else ""))
    table.add_row("First inference", f"{found.first_inference:.3f} ms")
    table.add_row("Count", f"{found.count} calls")
    table.add_row("Duration", f"{found.duration:.2f} ms")
    table.add_row("Latency", f"Median {latency.median:.3f} ms, Average {latency.average:.3f} ms,")
    table.add_row("", f"Min {latency.min:.3f} ms, Max {latency.max:.3f} ms, {tail}")
    table.add_row("Throughput", f"{found.throughput:.2f} FPS (rows per second)")
    return table


def _table(infos: Sequence[ModelInfo]) -> Any:
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("model", "version", "format", "size", "max batch", "workers", box=None, padding=(0, 2, 0, 0))
    for each in infos:
        size = sum(file.size for file in each.files)
        workers = "\n".join(_worker(worker) for worker in each.workers) or "none"
        table.add_row(each.name, str(each.version), each.format, decimal(size), str(each.max_batch), workers)
    return table


def _details(found: ModelInfo) -> Any:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("model", f"{found.name} version {found.version}, {found.format}, added {found.added}")
    for file in found.files:
        table.add_row("file", f"{file.name}, {file.size} bytes, sha256 {file.sha256}")
    table.add_row("max batch", f"{found.max_batch} rows, waiting at most {found.max_queue_delay_us} us for them")
    table.add_row("precision", found.precision or "the device's own")
    table.add_row("instances", str(found.instances or "as the worker measures"))
    table.add_row("tuned for", found.performance_hint or "as the worker measures")
    served = found.policy if isinstance(found.policy, str) else ", ".join(map(str, found.policy))
    table.add_row("versions served", served)
    table.add_row("devices", ", ".join(found.devices) if found.devices else "the worker's own order")
    for worker in found.workers:
        table.add_row("worker", _worker(worker))
    for worker in [worker for worker in found.workers if worker.inputs][:1]:
        for kind, ports in (("input", worker.inputs), ("output", worker.outputs)):
            for port in ports:
                shape = "any" if port.shape is None else ", ".join("?" if n is None else str(n) for n in port.shape)
                table.add_row(kind, f"{port.name}: {port.dtype}[{shape}]")
    return table


def _worker(worker: Any) -> str:
    where = f" on {worker.device}" if worker.device else ""
    took = f" in {worker.load_ms:.0f} ms" if worker.load_ms is not None else ""
    why = f": {worker.error}" if worker.error else ""
    return f"{worker.engine} {worker.state}{where}{took}{why}"
