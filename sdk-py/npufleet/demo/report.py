"""What the demo prints: text and tables for people, or one JSON object."""

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from npufleet.demo.file_types import FileType
    from npufleet.demo.runner import Outcome

SHOWN_FILES = 12


class Report:
    """Prints the demo's steps as they happen; with `quiet`, only the closing JSON object."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(quiet=quiet)
        self._started = time.perf_counter()

    def step(self, title: str) -> None:
        """Head a step with the seconds since the start."""
        self._console.print(f"\n[bold]{time.perf_counter() - self._started:5.1f} s  {title}[/bold]")

    def fleet(self, fleet: Any) -> None:
        """Say what runs where."""
        processes = ", ".join(f"{name} (pid {pid})" for name, pid in fleet.pids.items())
        self._console.print(f"  {processes}; transport: {fleet.transport}")

    def heart_rate(self, bpm: float) -> None:
        """Say what was found beside what HeartPy finds."""
        self._console.print(f"  {bpm:.1f} beats a minute (HeartPy's own analysis of this recording: 58.9)")

    def files(self, kinds: "list[FileType]", seconds: float) -> None:
        """Table of the first files, and the count of each type."""
        table = Table("file", "type", "score", box=None, pad_edge=False)
        for kind in kinds[:SHOWN_FILES]:
            table.add_row(_short(kind.path), kind.label, f"{kind.score:.3f}")
        self._console.print(table)
        counts = ", ".join(f"{count} {label}" for label, count in Counter(kind.label for kind in kinds).most_common())
        self._console.print(f"  {len(kinds)} files in {seconds * 1000:.0f} ms: {counts}")

    def fallback(self, fallback: dict[str, str | None]) -> None:
        """Say who went on, and why."""
        self._console.print(f"  the work went on: engine {fallback['engine']}, reason: {fallback['reason']}")

    def end(self, outcome: "Outcome") -> None:
        """Close with the trace and the counts, or with the JSON object."""
        if self._quiet:
            print(json.dumps(asdict(outcome)))  # the one line that a script reads
            return
        if outcome.error:
            Console(stderr=True).print(f"[red]the demo stopped: {outcome.error}[/red]")
            return
        from npufleet.telemetry import tree

        self.step(f"one request, every hop: trace {outcome.trace_id}")
        found = tree.find(outcome.trace_id) if outcome.trace_id else None
        if found is not None:
            self._console.print(found.render())
        engines = ", ".join(f"{engine} {count}" for engine, count in sorted(outcome.engines.items()))
        self.step(f"done; requests answered per engine: {engines}")


def _short(path: str) -> str:
    """A path as it reads best from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
