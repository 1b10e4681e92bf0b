"""The command answers at once because it imports little; counted in modules, since time depends on the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SLOW = {"numpy", "asyncio", "nats", "openvino", "scipy", "opentelemetry", "rich", "npufleet.fleet"}


def test_a_rust_worker_is_started_with_little_python() -> None:
    program = "import sys, npufleet.worker.__main__; print(sorted({'numpy', 'ssl', 'asyncio'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["models", "--help"], ["up", "--help"]])
def test_help_imports_nothing_slow(words: list[str]) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['npufleet', *{words!r}]\n"
        "from npufleet.cli import main\n"
        "try:\n    main()\n"
        f"finally:\n    print(sorted({SLOW!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
