"""The worker's queue: five lanes, bounded; a free executor takes everything compatible that waits, at once.

Within a lane operations and models take turns, so that a flood for one model does not hold up another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from npufleet.wire.contract import LANES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from npufleet.worker.endpoint import Endpoint
    from npufleet.worker.request import Request

_LANE_COUNT: Final = len(LANES)


class RequestQueue:
    """Filled by the event loop, emptied by executors; the more urgent lane first, of one endpoint the older request."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._condition = threading.Condition()
        # What waits for each endpoint, in the order of their turns.
        self._lanes: list[dict[Endpoint, deque[Request]]] = [{} for _ in range(_LANE_COUNT)]
        # Requests that may share a batch, by lane and key. Taken ones are skipped when they come up, in both places.
        self._mates: list[dict[Hashable, deque[Request]]] = [{} for _ in range(_LANE_COUNT)]
        self._work = [0.0] * _LANE_COUNT
        self._length = 0
        self._closed = False

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._length

    def work_before(self, lane: int) -> float:
        """Return the estimated seconds of execution that wait in front of a new request of this lane."""
        return sum(self._work[: lane + 1])

    def put(self, request: Request) -> None:
        """Add a request; the caller has checked that there is room."""
        with self._condition:
            self._lanes[request.lane].setdefault(request.endpoint, deque()).append(request)
            if request.key is not None:
                self._mates[request.lane].setdefault(request.key, deque()).append(request)
            self._length += 1
            self._work[request.lane] += request.estimate
            request.endpoint.queued += 1
            self._condition.notify()

    def discard(self, request: Request) -> bool:
        """Remove a request that nobody waits for; false when an executor has it already."""
        with self._condition:
            if request.taken:
                return False
            self._take(request)
            self._tidy(request.key)
            return True

    def take(self) -> list[Request] | None:
        """Wait for work and return one batch, or None once the queue is closed and empty."""
        with self._condition:
            while True:
                first = self._first()
                if first is not None:
                    break
                if self._closed:
                    return None
                self._condition.wait()
            self._take(first)
            batch = [first]
            model = first.model
            if first.key is not None and model is not None:
                self._fill(batch, model.max_batch)
                if model.max_delay > 0:
                    self._linger(batch, model.max_batch, model.max_delay)
            self._tidy(first.key)
            return batch

    def close(self) -> None:
        """Let executors end once everything that waits is taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _linger(self, batch: list[Request], limit: int, delay: float) -> None:
        until = batch[0].arrived / 1e9 + delay
        while not self._closed and sum(request.rows for request in batch) < limit:
            rest = until - time.perf_counter()
            if rest <= 0:
                return
            self._condition.wait(rest)
            self._fill(batch, limit)

    def _fill(self, batch: list[Request], limit: int) -> None:
        rows = sum(request.rows for request in batch)
        for mate in self._compatible(batch[0].key):
            if rows >= limit:
                return
            # A later, smaller one may still fit: rows of one model cost the same whoever sends them.
            if rows + mate.rows <= limit:
                self._take(mate)
                batch.append(mate)
                rows += mate.rows

    def _compatible(self, key: Hashable) -> Iterator[Request]:
        for mates in self._mates:
            yield from [request for request in mates.get(key, ()) if not request.taken]

    def _tidy(self, key: Hashable | None) -> None:
        for mates in self._mates if key is not None else ():
            waiting = mates.get(key)
            while waiting and waiting[0].taken:
                waiting.popleft()
            if waiting is not None and not waiting:
                del mates[key]

    def _first(self) -> Request | None:
        for lane in self._lanes:
            while lane:
                endpoint = next(iter(lane))
                # Its next turn comes after everybody else's; where nothing waits it has none.
                waiting = lane.pop(endpoint)
                while waiting and waiting[0].taken:
                    waiting.popleft()
                if waiting:
                    lane[endpoint] = waiting
                    return waiting[0]
        return None

    def _take(self, request: Request) -> None:
        request.taken = True
        request.dequeued = time.perf_counter_ns()
        self._length -= 1
        self._work[request.lane] = max(0.0, self._work[request.lane] - request.estimate)
        request.endpoint.queued -= 1
