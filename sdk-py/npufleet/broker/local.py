"""A fleet of one's own on this machine: the other end of the supervisor's pipes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from npufleet.broker import workers as worker_plan
from npufleet.broker.arguments import Options
from npufleet.errors import FleetError, UnavailableError, from_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    Event = dict[str, Any]

REMEMBERED_EVENTS = 1000
LINE_LIMIT = 4 << 20
"""Bytes of one event; a log line, the longest part of one, is at most a quarter of it."""

STOP_MARGIN = 10.0
"""Seconds beyond the workers' drain time after which a supervisor that does not end is killed."""


class LocalFleet:
    """A broker and workers that run as long as this object, and this process, do.

    `url` is the broker's address with its credentials, `pids` the running processes by name (`broker`, `rust`,
    `python`, ...), kept up to date across restarts, `events` the last thousand things that the supervisor said, and
    `notes` what the user should know (why no Rust worker runs).
    """

    def __init__(
        self, process: asyncio.subprocess.Process, options: Options, on_event: Callable[[Event], None]
    ) -> None:
        self.url = ""
        self.pids: dict[str, int] = {}
        self.events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)
        self.notes: list[str] = []
        self._process = process
        self._options = options
        self._on_event = on_event
        self._folder: Path | None = None
        self._errors: deque[str] = deque(maxlen=40)
        self._changed = asyncio.Condition()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._following = asyncio.gather(self._follow(), self._collect_errors())

    @classmethod
    async def start(
        cls,
        workers: Sequence[str] = ("rust", "python"),
        *,
        port: int | None = None,
        store: str | os.PathLike[str] | None = None,
        announce: Path | None = None,
        start_timeout: float = 60.0,
        drain_timeout: float = 10.0,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] | None = None,
        **worker_options: object,
    ) -> Self:
        """Start a broker and one worker per entry of `workers`, and wait until all of them serve.

        `port` None is a free one. `store` keeps the model registry in a folder; without it the registry goes with
        the fleet. `environment` is added to the processes' environment. Times are in seconds. Further options go to
        every worker: queue_limit, executors, devices, threads, cache_dir, openvino_library.
        Raises InvalidParameterError for an unknown engine or option, and UnavailableError with the last lines that
        the failing process logged when the fleet does not come up.
        """
        given = {name: str(value) for name, value in worker_options.items() if value is not None}
        worker_plan.check(workers, given)
        options = Options(
            workers=tuple(workers),
            port=-1 if port is None else port,
            store=None if store is None else Path(os.path.abspath(store)),  # noqa: ASYNC240,PTH100  only arithmetic
            announce=announce,
            parent=os.getpid(),
            start_timeout=start_timeout,
            drain_timeout=drain_timeout,
            worker_options=given,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "npufleet.broker.supervisor", *options.arguments()),
            stdin=asyncio.subprocess.PIPE,  # never written to: its end tells the supervisor that we are gone
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            limit=LINE_LIMIT,
            start_new_session=True,  # an interrupt typed at the terminal is for us; we stop the fleet in order
        )
        fleet = cls(process, options, on_event or (lambda event: None))
        try:
            async with asyncio.timeout(start_timeout + STOP_MARGIN):
                await asyncio.shield(fleet._ready)
        except TimeoutError as error:
            await fleet.stop()
            raise UnavailableError(f"the local fleet was not ready within {start_timeout:g} s") from error
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    @property
    def running(self) -> bool:
        """Whether the supervisor runs."""
        return self._process.returncode is None

    async def wait_event(self, wanted: Callable[[Event], bool]) -> Event:
        """Return the first event, of the remembered or the coming ones, that is wanted.

        Raises UnavailableError when the fleet stops without saying it.
        """
        while True:
            for event in tuple(self.events):
                if wanted(event):
                    return event
            if self._following.done():
                raise UnavailableError("the local fleet has stopped")
            async with self._changed:
                await self._changed.wait()

    async def wait_stopped(self) -> None:
        """Wait until the supervisor has ended."""
        await self._process.wait()

    async def stop(self) -> None:
        """Drain the workers, stop everything and remove what was temporary. A second call changes nothing."""
        with contextlib.suppress(ProcessLookupError):
            if self.running:
                self._process.terminate()
        try:
            async with asyncio.timeout(self._options.drain_timeout + STOP_MARGIN):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()  # the kernel ends its children with it
            await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._following
        self.pids.clear()
        if self._folder is not None:  # only a killed supervisor leaves it
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._ready.done():
            self._ready.exception()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _follow(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  asked for at the start
        async for line in self._process.stdout:
            event: Event = json.loads(line)
            self._apply(event)
            self.events.append(event)
            self._on_event(event)
            async with self._changed:
                self._changed.notify_all()
        self.pids.clear()
        await self._process.wait()
        async with self._changed:
            self._changed.notify_all()
        if not self._ready.done():
            said = " | ".join(self._errors) or "it said nothing"
            self._ready.set_exception(
                UnavailableError(f"the supervisor ended with status {self._process.returncode}: {said}")
            )

    async def _collect_errors(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  asked for at the start
        async for line in self._process.stderr:
            self._errors.append(line.decode("utf-8", errors="replace").rstrip())

    def _apply(self, event: Event) -> None:
        match event:
            case {"event": "started", "child": child, "pid": pid}:
                self.pids[child] = pid
            case {"event": "exited", "child": child}:
                self.pids.pop(child, None)
            case {"event": "ready", "url": url}:
                self.url, self.notes, self._folder = url, event["notes"], Path(event["folder"])
                if not self._ready.done():
                    self._ready.set_result(None)
            case {"event": "failed"} if not self._ready.done():
                self._ready.set_exception(_failure(event))


def _failure(event: Event) -> FleetError:
    """Build the error of a fleet that did not come up: one line, then what the failing process logged."""
    lines = "".join(f"\n  {line}" for line in event["lines"])
    logged = f"\n{event['child']} logged:{lines}" if lines else ""
    return from_kind(event["kind"], f"{event['message']}{logged}")
