"""A broker and worker processes for tests that speak plain NATS: no SDK of ours in between."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from npufleet.broker.server import find_server, port_of
from npufleet.transport.connection import Client
from npufleet.wire import frame
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from nats.aio.msg import Msg

SDK = Path(__file__).parents[2] / "sdk-py"
PATIENCE = 30.0


class Broker:
    """A nats-server with JetStream on a free port, which can be restarted on the same one.

    `jetstream` are settings of that block, `store` is where it keeps its files, `address` where it listens. Further
    keywords are its environment.
    """

    def __init__(
        self,
        *settings: str,
        store: Path | None = None,
        jetstream: str = "",
        address: str = "127.0.0.1",
        **environment: str,
    ) -> None:
        self._address = address
        self._environment = {**os.environ, **environment}
        self._folder = tempfile.TemporaryDirectory(prefix="npufleet-test-")
        configuration = Path(self._folder.name, "server.conf")
        # The streams reserve more than a small disk has.
        block = f"jetstream {{ store_dir: '{store or self._folder.name}', max_file_store: 20GB, {jetstream} }}"
        configuration.write_text("\n".join([block, *settings]))
        self._configuration = configuration
        self.port = -1
        self.start()

    def start(self) -> None:
        words = ["-a", self._address, "-p", str(self.port), "--ports_file_dir", self._folder.name]
        command = [str(find_server()), "-c", str(self._configuration), *words]
        self.process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        folder, pid = Path(self._folder.name), self.process.pid
        self.port = wait_until(lambda: port_of(folder, pid), "the broker's start")

    @property
    def url(self) -> str:
        return f"nats://{self._address}:{self.port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()


class WorkerProcess:
    """`python -m npufleet.worker --json`; its events can be waited for, its log is shown when a wait fails."""

    def __init__(
        self,
        url: str,
        *options: str,
        engine: str = "python",
        program: Sequence[str] = ("-m", "npufleet.worker"),
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> None:
        command = [*prefix, sys.executable, *program, "--engine", engine, "--json", "--url", url, *options]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NPUFLEET_"))}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            command,
            env={**inherited, "PYTHONPATH": str(SDK), "OTEL_TRACES_EXPORTER": "none", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def wait(self, event: str, seconds: float = PATIENCE, after: int = 0, **fields: Any) -> dict[str, Any]:
        """Return the first event (not one of the first `after`) of that name with those fields."""

        def found() -> dict[str, Any] | None:
            for each in self.events[after:]:
                if each["event"] == event and all(each.get(name) == value for name, value in fields.items()):
                    return each
            return None

        with self._news:
            ended = lambda: self.process.poll() is not None and not self._reader.is_alive()  # noqa: E731
            self._news.wait_for(lambda: found() or ended(), seconds)
            event_found = found()
        assert event_found, f"no event {event} {fields}; events: {self.events}; log: {self.log()}"
        return event_found

    def ready(self) -> Self:
        """Wait until it serves; what takes long to import may still be loading then."""
        self.id = self.wait("ready")["id"]
        return self

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Ask the worker to end and return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@contextlib.contextmanager
def worker(url: str, *options: str, engine: str = "python", **more: Any) -> Iterator[WorkerProcess]:
    """A worker that is ready; `more` is what `WorkerProcess` takes."""
    with WorkerProcess(url, *options, engine=engine, **more) as process:
        yield process.ready()


def primary_worker(url: str, engine: str, *options: str, **more: Any) -> AbstractContextManager[WorkerProcess]:
    """A worker that is ready and serves the call subjects, which a Python worker has to be told."""
    primary = ("--primary",) if engine == "python" else ()
    return worker(url, *primary, *options, engine=engine, **more)


@contextlib.asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Client]:
    """A plain NATS client, whose `flush` can be relied on."""
    connected = Client()
    await connected.connect(url, **options)
    try:
        yield connected
    finally:
        await connected.close()


def subject(operation: str, *, lane: str = "normal", route: str = "fallback") -> str:
    return f"npu.v1.{route}.{lane}.{operation}"


def deadline(seconds: float) -> dict[str, str]:
    return {"Npu-Deadline": str(int((time.time() + seconds) * 1e6))}


async def call(
    plain: Client,
    operation: str,
    tensors: dict[str, Any] | bytes,
    params: dict[str, Any] | None = None,
    *,
    lane: str = "normal",
    route: str = "fallback",
    headers: dict[str, str] | None = None,
) -> Msg:
    """Ask as any NATS program would: frame, subject, request."""
    payload = tensors if isinstance(tensors, bytes) else frame.encode(tensors, params)
    return await plain.request(subject(operation, lane=lane, route=route), payload, timeout=PATIENCE, headers=headers)


def kind(message: Msg) -> str | None:
    """The error kind of a reply, None for a good one."""
    return (message.headers or {}).get("Npu-Error-Kind")


def arrays(message: Msg) -> dict[str, Any]:
    assert kind(message) is None, message.headers
    return frame.decode(message.data)[0]


async def endpoints(plain: Client, worker_id: str) -> dict[str, dict[str, Any]]:
    """A worker's counters by endpoint subject."""
    answer = await plain.request(f"$SRV.STATS.npufleet.{worker_id}", timeout=PATIENCE)
    return {endpoint["subject"]: endpoint for endpoint in json.loads(answer.data)["endpoints"]}
