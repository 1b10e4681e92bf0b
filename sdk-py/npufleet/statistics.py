"""What a fleet object has done so far, counted."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the connection was opened.

    `calls` started, `answered` with a result, `errors` by error kind, `retries` after `overloaded`,
    `fallbacks` by reason of answers that another engine or device gave, `engines` by engine of all answers,
    `placements` of the requests' frames by where they were: `inline` in the message, `arena` in shared memory.
    """

    calls: int = 0
    answered: int = 0
    retries: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    fallbacks: dict[str, int] = field(default_factory=dict)
    engines: dict[str, int] = field(default_factory=dict)
    placements: dict[str, int] = field(default_factory=dict)


class Counters:
    """The counters behind `Statistics`, written from one event loop."""

    __slots__ = ("calls", "engines", "errors", "fallbacks", "retries")

    def __init__(self) -> None:
        self.calls = self.retries = 0
        self.errors: dict[str, int] = {}
        self.fallbacks: dict[str, int] = {}
        self.engines: dict[str | None, int] = {"rust": 0}

    def answered(self, engine: str | None, reason: str | None) -> None:
        """Count an answer, and its fallback by the reason's first word."""
        self.engines[engine] = self.engines.get(engine, 0) + 1
        if reason is not None:
            word = reason.partition(":")[0]
            self.fallbacks[word] = self.fallbacks.get(word, 0) + 1

    def failed(self, kind: str) -> None:
        """Count an error."""
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def snapshot(self, placements: dict[str, int]) -> Statistics:
        """Return the counts as they are now, with those of the transport."""
        return Statistics(
            calls=self.calls,
            answered=sum(self.engines.values()),
            retries=self.retries,
            errors=dict(self.errors),
            fallbacks=dict(self.fallbacks),
            engines={engine or "unknown": count for engine, count in self.engines.items() if count},
            placements={name: count for name, count in placements.items() if count},
        )
