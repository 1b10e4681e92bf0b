"""Without a Rust toolchain the project sets itself up on Python workers, and says so in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_set_up_and_demo_without_cargo(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    without_cargo = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "cargo").exists()
    )
    environment = {**os.environ, "PATH": without_cargo, "NPUFLEET_TRACE_DIR": str(tmp_path / "traces")}
    environment.pop("VIRTUAL_ENV", None)
    base_python = Path(sys.base_prefix) / "bin" / "python3"
    finished = subprocess.run(
        ["make", f"PYTHON={base_python}", "demo"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    said = [line for line in finished.stdout.splitlines() if "no Rust toolchain" in line]
    assert len(said) == 1
