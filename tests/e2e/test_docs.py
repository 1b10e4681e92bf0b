"""Every code block of the documentation is executed: Python in a process of its own, shell in bash."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npufleet import Fleet
from npufleet.demo.sample import package_file

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "broker" / "README.md", ROOT / "ops" / "README.md"]
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The two commands of the README: `make demo` is tests/e2e/test_demo.py, `make test` is what runs this test.
RUN_ELSEWHERE = {"make demo\nmake test\n"}
DRAWINGS = {"text"}


def blocks() -> list[tuple[str, str, str]]:
    """Page, language and source of every block."""
    return [
        (f"{page.relative_to(ROOT)}:{page.read_text()[: match.start()].count(chr(10)) + 1}", match[1], match[2])
        for page in PAGES
        for match in BLOCK.finditer(page.read_text())
    ]


RUNNABLE = [block for block in blocks() if block[1] not in DRAWINGS and block[2] not in RUN_ELSEWHERE]


@pytest.fixture(scope="module")
def fleet_url():
    with Fleet.local() as fleet:
        yield fleet.url


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with the files that the pages speak of."""
    shutil.copy(package_file("magika", "models/standard_v3_3/model.onnx"), tmp_path / "model.onnx")
    shutil.copy(ROOT / "broker" / "durable.conf", tmp_path)
    np.save(tmp_path / "samples.npy", np.sin(np.linspace(0, 100, 1024)))
    return tmp_path


@pytest.mark.parametrize(("where", "language", "source"), RUNNABLE, ids=[block[0] for block in RUNNABLE])
def test_a_block_runs(where: str, language: str, source: str, workspace: Path, fleet_url: str):
    commands = {"python": [sys.executable, "-c", source], "bash": ["bash", "-euo", "pipefail", "-c", source]}
    assert language in commands, f"{where}: no way to run a block of {language}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NPUFLEET_URL": fleet_url,
        "NPUFLEET_TRACE_DIR": str(workspace / "traces"),
    }
    finished = subprocess.run(
        commands[language], cwd=workspace, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert finished.returncode == 0, f"{where}\n{finished.stdout}\n{finished.stderr}"


def test_links_between_pages_lead_somewhere():
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken
