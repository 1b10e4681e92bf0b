"""Operating-system threads that execute batches; never the event loop, which has messages to read."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from npufleet.worker import batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from npufleet.worker.queue import RequestQueue
    from npufleet.worker.request import Outcome, Request

HUNG_SECONDS: Final = 1.0
"""How long a thread may go on with a batch that nobody waits for before another thread takes its place."""

MAXIMUM_HUNG: Final = 16

_log = logging.getLogger(__name__)


class Executor:
    """One thread and the batch it works on; `replaced` ones end with their batch."""

    def __init__(self, queue: RequestQueue, deliver: Callable[[list[Outcome]], None], name: str) -> None:
        self._queue = queue
        self._deliver = deliver
        self.current: list[Request] | None = None
        self.replaced = False
        self.unwanted_since: float | None = None
        # A daemon: a thread that hangs in foreign code must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.replaced:
            members = self._queue.take()
            if members is None:
                return
            self.current = members
            outcomes = batch.execute(members)
            self.current = None
            self._deliver(outcomes)
            # What waits for the next batch must not keep the model of the last one in memory.
            del members, outcomes


class Executors:
    """A fixed number of working threads; one that hangs is replaced, so that a bad request costs one thread."""

    def __init__(self, count: int, queue: RequestQueue, deliver: Callable[[list[Outcome]], None]) -> None:
        self.count = count
        self._queue = queue
        self._deliver = deliver
        self._started = 0
        self._executors = [self._start() for _ in range(count)]
        self._hung: list[Executor] = []

    @property
    def hung(self) -> int:
        """Number of threads that still hang in a batch nobody waits for."""
        self._hung = [executor for executor in self._hung if executor.thread.is_alive()]
        return len(self._hung)

    def replace_hung(self) -> None:
        """Start a new thread for each one that has been busy too long with a batch nobody waits for."""
        now = time.monotonic()
        for index, executor in enumerate(self._executors):
            members = executor.current
            if members is None or not all(request.answered for request in members):
                executor.unwanted_since = None
            elif executor.unwanted_since is None:
                executor.unwanted_since = now
            elif now - executor.unwanted_since > HUNG_SECONDS and self.hung < MAXIMUM_HUNG:
                executor.replaced = True
                _log.error(
                    "%s hangs in %s; another thread takes its place", executor.thread.name, members[0].endpoint.name
                )
                self._hung.append(executor)
                self._executors[index] = self._start()

    def _start(self) -> Executor:
        self._started += 1
        return Executor(self._queue, self._deliver, f"npufleet-executor-{self._started}")
