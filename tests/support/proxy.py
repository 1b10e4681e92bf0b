"""A TCP proxy whose connections can be cut, or fall silent as those to a machine that has vanished."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import random


class _Connection:
    """Two directions of one client; nothing passes while it is silent."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        self.passing = asyncio.Event()
        self.passing.set()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Listens on a free port of the loopback interface and passes everything on to `port`."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def cut(self, draw: random.Random) -> None:
        """End some of the connections, at once and without a word."""
        for connection in self._some(draw):
            self._loop.call_soon_threadsafe(connection.cut)

    def silence(self, draw: random.Random) -> None:
        """Let nothing through on some of the connections, in either direction; they stay open."""
        for connection in self._some(draw):
            self._loop.call_soon_threadsafe(connection.passing.clear)

    def heal(self, *, cut: bool = False) -> None:
        """Let everything through again that waited, or end what was silent, as a peer that finds out does."""
        for connection in list(self._connections):
            if not connection.passing.is_set():
                self._loop.call_soon_threadsafe(connection.cut if cut else connection.passing.set)

    def _some(self, draw: random.Random) -> list[_Connection]:
        there = list(self._connections)
        return draw.sample(there, draw.randint(1, len(there))) if there else []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, far_writer)
        self._connections.add(connection)
        try:
            await asyncio.gather(self._pass(connection, reader, far_writer), self._pass(connection, far_reader, writer))
        finally:
            self._connections.discard(connection)
            connection.cut()

    @staticmethod
    async def _pass(connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await connection.passing.wait()
                writer.write(data)
                await writer.drain()
        connection.passing.set()
        connection.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            mine = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not mine]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(2):
                await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
