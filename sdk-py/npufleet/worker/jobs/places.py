"""Which lane gets a free place: each in proportion to its weight, of those that have work."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from npufleet.wire import job

if TYPE_CHECKING:
    from collections.abc import Iterable


class Places:
    """Smooth weighted round robin over consumers with a known backlog; a consumer is named `<route>-<lane>`."""

    def __init__(self, consumers: Iterable[str]) -> None:
        self._weights = {name: job.WEIGHTS[name.rpartition("-")[2]] for name in consumers}
        self._credit = dict.fromkeys(self._weights, 0)
        # At first every one may have work.
        self.waiting = dict.fromkeys(self._weights, 1)
        """How many jobs wait for each consumer, as far as is known."""

    def share(self, free: int) -> Counter[str]:
        """Divide the free places; none at all where nothing is known to wait."""
        left = dict(self.waiting)
        shares: Counter[str] = Counter()
        for _ in range(free):
            ready = [name for name, count in left.items() if count > 0]
            if not ready:
                break
            for name in ready:
                self._credit[name] += self._weights[name]
            chosen = max(ready, key=self._credit.__getitem__)
            self._credit[chosen] -= sum(self._weights[name] for name in ready)
            left[chosen] -= 1
            shares[chosen] += 1
        return shares
