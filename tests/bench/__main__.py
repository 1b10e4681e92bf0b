"""Run the benchmarks: `python -m tests.bench [group ...] [--quick]`."""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import backlog, calls, channel, inference, jobs, operations, payload, startup, transform
from tests.bench.figure import Figure, number
from tests.bench.stand import OUT, Effort, build_floor_programs

GROUPS = {
    "calls": calls,
    "jobs": jobs,
    "backlog": backlog,
    "inference": inference,
    "transform": transform,
    "operations": operations,
    "channel": channel,
    "payload": payload,
    "startup": startup,
}


def machine() -> str:
    """The processor's name, the family and model by which those of one name differ, and the number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    kind = f"family {told.get('cpu family', 'unknown')}, model {told.get('model', 'unknown')}"
    return f"{told.get('model name', 'unknown processor')} ({kind}), {os.cpu_count()} cores"


def row(item: Figure) -> list[str]:
    """A figure as cells of the table; the spread is the half range of its samples."""
    spread = (max(item.samples) - min(item.samples)) / 2 if item.samples else 0.0
    verdict = {None: "", True: "met", False: "[red]missed[/red]"}[item.met]
    ratio = f"{item.ratio:.2f}" if item.ratio is not None else ""
    return [item.name, f"{number(item.value)} ± {number(spread)} {item.unit}", ratio, item.target or "", verdict]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="short samples: to see that everything runs")
    arguments = parser.parse_args()
    effort = Effort(seconds=0.3, repeats=2) if arguments.quick else Effort()
    build_floor_programs()
    console = Console()
    table = Table("figure", "median", "ratio", "target", "", title=f"npufleet on {machine()}", box=None)
    figures: list[Figure] = []
    OUT.mkdir(parents=True, exist_ok=True)
    for name in arguments.groups or GROUPS:
        for item in GROUPS[name].measure(effort):
            console.print(*row(item), sep="  ", highlight=False)
            table.add_row(*row(item))
            figures.append(item)
        # After each group: a run that is ended early has measured something too.
        (OUT / "latest.json").write_text(json.dumps([asdict(item) for item in figures], indent=1))
    console.print(table)


if __name__ == "__main__":
    main()
