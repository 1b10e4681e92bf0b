"""The containers' commands, run here as processes: what docker-compose.yml starts is a fleet that answers.

The images themselves need a container engine and are not built by this test.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from npufleet import Fleet, UnavailableError
from npufleet.broker.server import find_server
from tests.support.waiting import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def services():
    text = (ROOT / "docker-compose.yml").read_text()
    return yaml.safe_load(re.sub(r"\$\{NPUFLEET_PASSWORD:\?[^}]*\}", PASSWORD, text))["services"]


def published_ports(services):
    return [port for service in services.values() for port in service.get("ports", [])]


def test_every_published_port_is_on_loopback(services):
    assert published_ports(services)
    assert all(port.startswith("127.0.0.1:") for port in published_ports(services))


@pytest.mark.parametrize("engine", ["python", "rust"])
def test_the_services_make_a_fleet(services, engine, tmp_path, request):
    if engine == "rust":
        request.getfixturevalue("native_required")
    port = free_port()
    broker = [
        argument.replace("/data", str(tmp_path / "data")).replace("8222", str(free_port()))
        for argument in services["broker"]["command"]
    ]
    worker = services[f"worker-{engine}"]
    environment = {**worker["environment"], "NPUFLEET_URL": f"nats://127.0.0.1:{port}", "OTEL_SDK_DISABLED": "true"}
    environment["NPUFLEET_CACHE_DIR"] = str(tmp_path / "cache")
    with (
        subprocess.Popen([find_server(), "--addr=127.0.0.1", f"--port={port}", *broker]) as server,
        subprocess.Popen(
            [sys.executable, "-m", "npufleet", *worker["command"]],
            env={**os.environ, **environment},
        ) as process,
    ):
        try:
            url = f"nats://npufleet:{PASSWORD}@127.0.0.1:{port}"
            spectrum = first_answer(url)
            np.testing.assert_allclose(spectrum, np.fft.rfft(np.arange(8.0)), atol=1e-9)
        finally:
            process.terminate()
            assert process.wait(20) == 0
            server.terminate()


def first_answer(url: str):
    """The answer of the fleet at `url`, once it is up."""
    answers = []

    def answered() -> bool:
        try:
            with Fleet.connect(url) as fleet:
                answers.append(fleet.fft(np.arange(8.0), timeout=5))
        except UnavailableError:
            return False
        return True

    wait_until(answered, what="the fleet answers")
    return answers[0]
