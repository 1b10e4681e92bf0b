"""One child process that cannot outlive its parent, watched by the event loop without a thread."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REMEMBERED_LINES = 40
"""Lines of standard error kept for the message when a child fails."""

LINE_LIMIT = 1 << 20
"""Bytes of one line of a child's output; a longer one is cut into pieces of this size."""

_PR_SET_PDEATHSIG = 1
# Looked up before any fork: between fork and exec only the call itself may happen.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class Child:
    """A started process; the task `ended` is done when it is gone.

    The kernel kills it when the parent dies, however that happens. The parent must stay the thread that started it,
    which is why the supervisor has only one.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.last_lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self.ended: asyncio.Task[int] = asyncio.create_task(self._wait(os.pidfd_open(process.pid)))
        self._readers: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        on_output: Callable[[str], None],
        on_log: Callable[[str], None],
        batch: bool = False,
    ) -> Self:
        """Start a command with exactly this environment; its lines of output and of logs go to the two callbacks.

        One with the scheduling policy `batch` (SCHED_BATCH) never interrupts whoever runs when something arrives for
        it: it then finds more to do at once.
        """
        parent, usual = os.getpid(), os.sched_param(0)

        def bind_to_parent() -> None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # the parent died in between, so no signal will come
                os._exit(1)
            if batch:
                with contextlib.suppress(PermissionError):  # it is as right without, only slower
                    os.sched_setscheduler(0, os.SCHED_BATCH, usual)

        process = subprocess.Popen(  # noqa: ASYNC220  the loop must do the fork itself: see the class
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A group of its own: an interrupt typed at a terminal reaches the supervisor only, which stops us in order.
            process_group=0,
            preexec_fn=bind_to_parent,
        )
        child = cls(process)
        await child._read(process.stdout, on_output)

        def remember(line: str) -> None:
            child.last_lines.append(line)
            on_log(line)

        await child._read(process.stderr, remember)
        return child

    async def _read(self, pipe: object, deliver: Callable[[str], None]) -> None:
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)

        async def lines() -> None:
            while line := await _line(reader):
                deliver(line.decode("utf-8", errors="replace").rstrip("\n"))

        self._readers.append(asyncio.create_task(lines()))

    async def _wait(self, descriptor: int) -> int:
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._process.wait()

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return not self.ended.done()

    async def wait(self) -> int:
        """Wait until the process is gone and return its return code (negative: killed by that signal)."""
        # Whoever waits may be cancelled; the watch over the process goes on.
        return await asyncio.shield(self.ended)

    async def stop(self, patience: float) -> int:
        """Ask the process to end, kill it after `patience` seconds, and return its return code."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self.ended}, timeout=patience)
        self._signal(signal.SIGKILL)
        code = await self.wait()
        await self.drain_output()
        return code

    async def drain_output(self) -> None:
        """Wait until the lines that an ended process left in its pipes are delivered."""
        # A grandchild may hold the pipes open for ever; its lines are not ours to wait for.
        _, unread = await asyncio.wait(self._readers, timeout=1.0)
        for reader in unread:
            reader.cancel()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as long:
        return await reader.readexactly(max(long.consumed, 1))
