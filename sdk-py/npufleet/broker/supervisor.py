"""Keep a broker and its workers running on this machine, and leave nothing behind.

`python -m npufleet.broker.supervisor` starts nats-server from local.conf, creates the model registry's buckets, starts
the workers and creates the jobs' streams, and says on standard output, as one JSON object per line, what happens:

    started   {child, pid}                                a process exists
    ready     {child, ...}                                a worker serves (as the worker said it)
    ready     {url, port, pids, store, folder, notes}     the whole fleet serves
    log       {child, text}                               a line that a child logged
    exited    {child, pid, status, expected, restart_in}  a child ended; unexpected ones are started again
    failed    {kind, message, child, lines}               the fleet did not come up; the process ends with status 1
    stopped   {}                                          the end

plus whatever events the workers print. Standard input is a tether: when it is a pipe and reaches its end, or the
process named by --parent ends, the fleet shuts down. Children die with the supervisor, by the kernel's hand.

One thread on purpose: the kernel's signal at a parent's death is bound to the thread that made the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from npufleet.broker import announcement, server, tether, workers
from npufleet.broker.arguments import Options, parse
from npufleet.broker.configuration import LOCAL_CONFIGURATION, LocalConfiguration
from npufleet.broker.emitter import Emitter
from npufleet.broker.folder import Folder
from npufleet.broker.service import Service, ServiceFailedError
from npufleet.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from npufleet.broker.child import Child
    from npufleet.broker.service import Emit
    from npufleet.transport.connection import Client

BROKER_PATIENCE = 5.0
"""Seconds that nats-server gets to close its files."""


class Supervisor:
    """One local fleet: a broker, its workers, their folder."""

    def __init__(self, options: Options, emit: Emit) -> None:
        self._options = options
        self._emit = emit
        self._store = Folder.claim(options.store) if options.store is not None else None
        self._folder = Folder.create()
        store = self._store.path if self._store is not None else self._folder.path / "store"
        self._configuration = LocalConfiguration(run=self._folder.path, store=store, port=options.port)
        self._port = options.port
        self._services: list[Service] = []

    @property
    def url(self) -> str:
        """The broker's address with its credentials, once the broker runs."""
        return self._configuration.url(self._port)

    async def start(self) -> None:
        """Start everything and say `ready`; raises FleetError when a part does not come up."""
        planned = workers.plan(self._options.workers, self._options.worker_options, self._options.drain_timeout)
        broker = [str(server.find_server()), "-c", str(LOCAL_CONFIGURATION)]
        # Of all on this machine the broker gains most from messages that come together (ADR 23).
        kept = Service("broker", broker, self._broker_environment, self._emit, ready=self._broker_ready, batch=True)
        await self._start(kept)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._create_streams())
            for name, command in planned.commands.items():
                group.create_task(self._start(Service(name, command, self._worker_environment, self._emit)))
        if self._options.announce is not None:
            announcement.write(self._options.announce, self.url)
        self._emit(
            "ready",
            url=self.url,
            port=self._port,
            pids={service.name: service.child.pid for service in self._services if service.child is not None},
            store=str(self._configuration.store),
            folder=str(self._folder.path),
            notes=planned.notes,
        )

    async def stop(self) -> None:
        """Drain the workers, stop the broker, remove what was temporary."""
        if self._options.announce is not None:
            announcement.remove(self._options.announce)
        patience = self._options.drain_timeout + 1.0
        await asyncio.gather(*(worker.stop(patience) for worker in self._services[1:]))
        for broker in self._services[:1]:
            await broker.stop(BROKER_PATIENCE)
        if self._store is not None:
            self._store.release()
        self._folder.remove()

    async def _start(self, service: Service) -> None:
        self._services.append(service)
        await service.start(self._options.start_timeout)

    def _broker_environment(self) -> dict[str, str]:
        # A restarted broker takes the port of its predecessor, so that clients find it again.
        port = {"NPUFLEET_LOCAL_PORT": str(self._port)}
        return {**server.MEMORY, **os.environ, **self._configuration.environment(), **port}

    def _worker_environment(self) -> dict[str, str]:
        url = self._configuration.url(self._port, credentials=False)
        return workers.environment(url, self._configuration.password)

    async def _broker_ready(self, child: Child) -> None:
        """Wait for the server's port, then make the buckets: the one in memory is gone after each restart."""
        self._port = await server.wait_port(self._folder.path, child.pid)
        from npufleet.broker import buckets  # nats-py is imported while the server starts

        async with _connected(self.url) as client:
            await buckets.create(client.jetstream())

    async def _create_streams(self) -> None:
        """Make the streams of jobs, which are kept in files: once is enough, and the workers need not wait for it."""
        from npufleet.broker import streams

        async with _connected(self.url) as client:
            await streams.create(client)


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Client]:
    from npufleet.transport.connection import Client, connect
    from npufleet.transport.options import ConnectOptions

    client = Client()
    await connect(client, ConnectOptions(url=url, name="npufleet-supervisor"))
    try:
        yield client
    finally:
        await client.close()


async def supervise(options: Options) -> int:
    """Run a fleet until a signal or the tether says stop; return the exit status."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    tether.watch(stop.set, options.parent)
    emitter = await Emitter.open(stop.set)
    try:
        return await _run(options, emitter.emit, stop)
    except* FleetError as group:
        error = _first(group)
        child, lines = (error.child, error.lines) if isinstance(error, ServiceFailedError) else (None, [])
        emitter.emit("failed", kind=error.kind, message=str(error), child=child, lines=lines)
    finally:
        emitter.emit("stopped")
        await emitter.close()
    return 1


async def _run(options: Options, emit: Emit, stop: asyncio.Event) -> int:
    supervisor = Supervisor(options, emit)
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await stopping
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.wait({starting, stopping})
        await supervisor.stop()
    return 0


def _first(error: BaseException) -> FleetError:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, FleetError):
        raise TypeError(f"not an error of the fleet: {error!r}")
    return error


if __name__ == "__main__":
    sys.exit(asyncio.run(supervise(parse())))
