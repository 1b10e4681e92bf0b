"""What a fleet object has done so far, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the connection was opened.

    `calls` started, `answered` with a result, `errors` by error kind, `retries` after `overloaded`,
    `fallbacks` by reason of answers that another engine or device gave, `engines` by engine of all answers.
    """

    calls: int = 0
    answered: int = 0
    retries: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    fallbacks: dict[str, int] = field(default_factory=dict)
    engines: dict[str, int] = field(default_factory=dict)


class Counters:
    """The counters behind `Statistics`, written from one event loop."""

    __slots__ = ("answered", "calls", "engines", "errors", "fallbacks", "retries")

    def __init__(self) -> None:
        self.calls = self.answered = self.retries = 0
        self.errors: Counter[str] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self.engines: Counter[str] = Counter()

    def snapshot(self) -> Statistics:
        """Return the counts as they are now."""
        return Statistics(
            self.calls, self.answered, self.retries, dict(self.errors), dict(self.fallbacks), dict(self.engines)
        )
