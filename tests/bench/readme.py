"""Write the measured figures that have a floor or a target into the README: `python -m tests.bench.readme`."""

import json
import platform
import re
from datetime import UTC, datetime

from tests.bench.__main__ import machine
from tests.bench.figure import number
from tests.bench.stand import OUT, ROOT

FLOORS = ("raw ", "bare ", "scipy.")
SECTION = re.compile(r"(<!-- bench:begin -->\n).*(<!-- bench:end -->)", re.DOTALL)


def table() -> str:
    """The figures of the last run as a Markdown table, with the machine and the day."""
    latest = OUT / "latest.json"
    day = datetime.fromtimestamp(latest.stat().st_mtime, UTC).date()
    lines = [
        f"Measured on {machine()}, shared with other machines, on {day}; CPython {platform.python_version()}.",
        "",
        "| figure | median | of the floor | target | |",
        "|---|---|---|---|---|",
    ]
    for item in json.loads(latest.read_text()):
        if item["ratio"] is None and item["target"] is None and not item["name"].startswith(FLOORS):
            continue
        ratio = "" if item["ratio"] is None else f"{item['ratio']:.2f}"
        verdict = {None: "", True: "met", False: "**missed**"}[item["met"]]
        target = item["target"] or ""
        lines.append(f"| {item['name']} | {number(item['value'])} {item['unit']} | {ratio} | {target} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Replace the section of the README."""
    readme = ROOT / "README.md"
    readme.write_text(SECTION.sub(lambda found: found[1] + table() + found[2], readme.read_text()))


if __name__ == "__main__":
    main()
