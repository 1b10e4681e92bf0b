"""The `nats` CLI, which knows nothing of npufleet, lists the fleet through the services protocol."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from npufleet import Fleet

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def nats_cli() -> str:
    if shutil.which("go") is None:
        pytest.skip("the nats CLI is built with Go, and there is no go on the path")
    script = ROOT / "ops" / "tools" / "build-nats-cli.sh"
    return subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def test_the_nats_cli_lists_the_fleet(nats_cli, native_required):
    with Fleet.local() as fleet:
        listed = subprocess.run(
            [nats_cli, "--server", fleet.url, "micro", "list", "npufleet", "--json"],
            stdout=subprocess.PIPE,
            check=True,
            timeout=30,
        )
    workers = json.loads(listed.stdout)
    assert {worker["metadata"]["engine"] for worker in workers} == {"rust", "python"}
    assert {worker["name"] for worker in workers} == {"npufleet"}
