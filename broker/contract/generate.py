"""Write what is derived from contract.toml, or with --check say what is stale and exit with 1.

Derived are the copy of the contract inside the Python package, the typed SDK methods, the reference page of the
operations, the wavelets' filters and the golden vectors. This needs NumPy, SciPy, PyWavelets and safetensors, and
nothing of npufleet.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import arena_source
import bundles_source
import channel_source
import frames_source
import names_source
import numbers_source
import numpy as np
import plans_source
import reference_source
import typed_source
import wavelets_source
from safetensors.numpy import load

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NUMBERS = "operations"
DIFF_LINES = 12


def artifacts() -> dict[Path, str]:
    """Every derived file's content, by its path."""
    contract = tomllib.loads((HERE / "contract.toml").read_text("utf-8"))
    typed_source.NUMPY.update({word: row["numpy"] for word, row in contract["dtypes"].items()})
    vectors = {
        "frames.json": {"valid": frames_source.valid(), "invalid": frames_source.invalid()},
        "subjects.json": names_source.subjects(),
        "claims.json": names_source.claims(),
        "arena.json": arena_source.arena(),
        "channel.json": channel_source.channel(),
        "bundles.json": bundles_source.bundles(),
        "plans.json": plans_source.plans(),
        **{f"{NUMBERS}/{name}.json": {"cases": cases} for name, cases in numbers_source.operations().items()},
    }
    package = ROOT / "sdk-py" / "npufleet"
    return {
        package / "wire" / "contract.json": json.dumps(contract, indent=1, ensure_ascii=False) + "\n",
        package / "_typed.py": typed_source.source(contract),
        ROOT / "docs" / "reference" / "operations.md": reference_source.page(contract),
        ROOT / "workers-rs" / "crates" / "operations" / "src" / "wavelet" / "filters.json": wavelets_source.filters(),
        **{HERE / "vectors" / name: _rows(content) for name, content in vectors.items()},
    }


def is_fresh(path: Path, content: str) -> bool:
    if not path.exists():
        return False
    stored = path.read_text("utf-8")
    if stored == content or path.parent.name != NUMBERS:
        return stored == content
    # SciPy rounds differently from version to version and from processor to processor.
    return _same_numbers(json.loads(stored), json.loads(content))


def _same_numbers(stored: dict[str, Any], fresh: dict[str, Any]) -> bool:
    if stored.keys() != fresh.keys() or any(len(stored[name]) != len(fresh[name]) for name in fresh):
        return False
    pairs = [pair for name in fresh for pair in zip(stored[name], fresh[name], strict=True)]
    return all(
        {**old, "expect_hex": None} == {**new, "expect_hex": None}
        and _close(old["expect_hex"], new["expect_hex"], new["tolerance"])
        for old, new in pairs
    )


def _close(old: str | None, new: str | None, tolerance: float) -> bool:
    if old == new or old is None or new is None:
        return old == new
    first, second = load(bytes.fromhex(old)), load(bytes.fromhex(new))
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and np.allclose(first[name], second[name], tolerance, tolerance * _scale(second[name]), equal_nan=True)
        for name in first
    )


def _scale(expected: Any) -> float:
    magnitudes = np.abs(expected[np.isfinite(expected)])
    smallest = np.finfo(expected.dtype).tiny if expected.dtype.kind in "fc" else 0
    return float(max(magnitudes.max(initial=0), smallest))


def _rows(groups: dict[str, list[dict[str, Any]]]) -> str:
    """JSON with one case a line, so that a changed case is a changed line."""
    lists = []
    for name, cases in groups.items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        lists.append(f'"{name}":[\n{lines}\n]')
    return "{" + ",\n".join(lists) + "}\n"


def _summary(path: Path, content: str) -> str:
    if not path.exists():
        return "missing"
    lines = difflib.unified_diff(
        path.read_text("utf-8").splitlines(), content.splitlines(), "as it is", "as it should be", lineterm="", n=0
    )
    shortened = [line if len(line) <= 160 else f"{line[:157]}..." for line in lines]
    more = [f"... and {len(shortened) - DIFF_LINES} more lines"] if len(shortened) > DIFF_LINES else []
    return "\n  ".join([*shortened[:DIFF_LINES], *more])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when something is stale")
    check = parser.parse_args().check
    stale = {path: content for path, content in artifacts().items() if not is_fresh(path, content)}
    for path, content in stale.items():
        name = path.relative_to(ROOT)
        if check:
            print(f"stale: {name}; run `make contract`\n  {_summary(path, content)}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
