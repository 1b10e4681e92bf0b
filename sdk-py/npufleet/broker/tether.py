"""End together with whoever started us: the ends of a pipe and of a process, watched by the event loop."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def watch(stop: Callable[[], None], parent: int | None) -> None:
    """Call `stop` when standard input, if it is a pipe, reaches its end, or when the process `parent` ends.

    The pipe alone is not enough: a process that the parent forked may still hold its other end.
    """
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        _watch_input(stop)
    if parent is not None:
        _watch_process(stop, parent)


def _watch_input(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop()

    loop.add_reader(0, readable)


def _watch_process(stop: Callable[[], None], parent: int) -> None:
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(parent)
    except ProcessLookupError:
        stop()
        return

    def ended() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        stop()

    loop.add_reader(descriptor, ended)
    if os.getppid() != parent:  # it died before we looked, and its number may be another process by now
        stop()
