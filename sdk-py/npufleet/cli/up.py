"""`npufleet up`: a broker and its workers in the foreground, until Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path  # noqa: TC003  typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from npufleet.cli import console

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from npufleet.broker.local import LocalFleet

PORT = 4222


def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the broker; 0 for a free one.")] = PORT,
    workers: Annotated[str, typer.Option(help="Workers to run: rust and python, separated by commas.")] = "rust,python",
    store: Annotated[
        Path | None, typer.Option(help="Folder that keeps the models; without it they go at the end.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the processes log.")] = False,
    drain_timeout: Annotated[float, typer.Option(min=0.0, help="Seconds for the workers to finish at the end.")] = 10.0,
    queue_limit: Annotated[int | None, typer.Option(min=1, help="Requests that may wait in each worker.")] = None,
    executors: Annotated[int | None, typer.Option(min=0, help="Threads that execute in each worker.")] = None,
    devices: Annotated[str | None, typer.Option(help="Order of preference, such as NPU,GPU,CPU.")] = None,
    threads: Annotated[int | None, typer.Option(min=0, help="Threads of one inference on the CPU.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder for compiled models.")] = None,
    as_json: console.Json = False,
) -> None:
    """Run a broker, a Rust worker and a Python worker here; restart what crashes; stop on Ctrl-C or SIGTERM.

    Other commands of the same user find this fleet by themselves.
    With --json, every event is one JSON object on a line of its own.
    """
    options = {
        "port": port or None,
        "store": store,
        "drain_timeout": drain_timeout,
        "queue_limit": queue_limit,
        "executors": executors,
        "devices": devices,
        "threads": threads,
        "cache_dir": cache_dir,
    }
    engines = [name.strip() for name in workers.split(",") if name.strip()]
    show = _print_json if as_json else _Status(verbose=verbose).show
    console.run(_run(engines, options, show), as_json=as_json)


async def _run(engines: list[str], options: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> None:
    import asyncio

    from npufleet.broker import announcement
    from npufleet.broker.local import LocalFleet

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.ensure_future(
        LocalFleet.start(engines, announce=announcement.default_path(), on_event=show, **options)
    )
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()  # stops what has been started
        await asyncio.wait({starting})
        return
    fleet = await starting
    try:
        await _until(fleet, stopping)
    finally:
        stopping.cancel()
        await fleet.stop()


async def _until(fleet: LocalFleet, stopping: asyncio.Future[Any]) -> None:
    import asyncio

    from npufleet.errors import UnavailableError

    ended = asyncio.ensure_future(fleet.wait_stopped())
    await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        raise UnavailableError("the supervisor of the fleet has ended unexpectedly")
    ended.cancel()


def _print_json(event: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(event))


class _Status:
    """Says what happens in lines for people."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose

    def show(self, event: dict[str, Any]) -> None:
        """Print one event, if a person needs it."""
        match event:
            case {"event": "log", "child": child, "text": text}:
                # The server's own routine is of no interest until something is wrong.
                if self._verbose or not (child == "broker" and ("[INF]" in text or "[WRN] Plaintext" in text)):
                    self._line(child, text)
            case {"event": "started", "child": child, "pid": pid}:
                self._line(child, f"started, pid {pid}")
            case {"event": "ready", "child": child}:
                self._line(child, f"ready on {_devices(event.get('devices') or [])}")
            case {"event": "ready", "url": url, "notes": notes}:
                for note in notes:
                    self._line("note", note)
                self._line("fleet", f"ready; for programs: export NPUFLEET_URL={url}")
                self._line("fleet", "other npufleet commands find it by themselves; Ctrl-C stops it")
            case {"event": "devices", "child": child, "devices": devices}:
                self._line(child, f"models run on {_devices(devices)}")
            case {"event": "model", "child": child}:
                why = f": {event['error']}" if event.get("error") else ""
                self._line(child, f"model {event.get('name')} version {event.get('version')} {event.get('state')}{why}")
            case {"event": "exited", "child": child, "expected": False, "status": status, "restart_in": seconds}:
                how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
                self._line(child, f"{how}; starting it again in {seconds:g} s")
            case {"event": "exited", "child": child}:
                self._line(child, "stopped")
            case {"event": "draining", "child": child}:
                self._line(child, "finishing what it has accepted")
            case {"event": "dropped", "lines": lines}:
                self._line("note", f"{lines} log lines were dropped because nobody read them")
            case {"event": "stopped", "child": child}:
                self._line(child, f"served {event.get('served')} requests")

    def _line(self, who: str, text: str) -> None:
        typer.secho(f"{who:<8} ", fg=typer.colors.CYAN, nl=False)
        typer.echo(text)


def _devices(devices: list[dict[str, Any]]) -> str:
    return ", ".join(device["name"] for device in devices if device.get("available")) or "no device"
