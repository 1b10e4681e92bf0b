"""The processor's threads, shared by all models of a worker."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Budget:
    """Threads that inferences on the CPU may take together, whichever model they are of; 0 means one per core."""

    def __init__(self, threads: int = 0) -> None:
        self.total = threads or len(os.sched_getaffinity(0))
        self._free = self.total
        self._returned = threading.Condition()
        # Held by whoever waits next: one that wants many threads is not passed by those that want few.
        self._turn = threading.Lock()

    @contextmanager
    def share(self, threads: int) -> Iterator[int]:
        """Wait until so many threads are free (or all, when more are asked for) and hold them."""
        threads = min(threads, self.total)
        with self._turn, self._returned:
            self._returned.wait_for(lambda: self._free >= threads)
            self._free -= threads
        try:
            yield threads
        finally:
            with self._returned:
                self._free += threads
                self._returned.notify()
