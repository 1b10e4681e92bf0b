"""A real Jaeger receives a request's trace over OTLP and gives every hop back through its query API."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.waiting import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 3000

CONFIGURATION = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}}}
extensions:
  jaeger_query:
    enable_tracing: false
    storage: {{traces: mem}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{query_grpc}"}}
  jaeger_storage: {{backends: {{mem: {{memory: {{max_traces: 1000}}}}}}}}
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}
processors: {{batch: {{timeout: 100ms}}}}
exporters: {{jaeger_storage_exporter: {{trace_storage: mem}}}}
"""

PROGRAM = """
import numpy as np
from npufleet import Fleet
with Fleet.local() as fleet:
    served = fleet.call("fft", np.ones(64))
    handed_over = fleet.call("fft", np.ones(64, np.float16))
    print(served.trace_id, served.engine, handed_over.trace_id, handed_over.engine)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_TIMEOUT_S)]


@pytest.fixture(scope="module")
def jaeger_binary() -> str:
    if shutil.which("go") is None:
        pytest.skip("Jaeger is built with Go, and there is no go on the path")
    script = ROOT / "ops" / "tools" / "build-jaeger.sh"
    return subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@pytest.fixture
def jaeger(jaeger_binary, tmp_path):
    """A running Jaeger: its OTLP port and its query address."""
    ports = {name: free_port() for name in ("query", "query_grpc", "otlp")}
    configuration = tmp_path / "jaeger.yaml"
    configuration.write_text(CONFIGURATION.format(**ports))
    with (tmp_path / "jaeger.log").open("w") as log:
        process = subprocess.Popen([jaeger_binary, "--config", f"file:{configuration}"], stdout=log, stderr=log)
        try:
            query = f"http://127.0.0.1:{ports['query']}"
            wait_until(lambda: answers(f"{query}/api/services"), what="Jaeger's query API answers")
            yield f"http://127.0.0.1:{ports['otlp']}", query
        finally:
            process.terminate()
            process.wait(10)


def answers(url: str):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return json.load(response)
    except OSError:
        return None


def spans_of(query: str, trace_id: str) -> dict[str, set[str]]:
    """Names of the spans of a trace by service, as Jaeger tells them."""
    found = answers(f"{query}/api/traces/{trace_id}")
    services: dict[str, set[str]] = {}
    for trace in (found or {}).get("data") or []:
        for span in trace["spans"]:
            service = trace["processes"][span["processID"]]["serviceName"]
            services.setdefault(service, set()).add(span["operationName"])
    return services


WORKER_SPANS = {"receive", "payload.fetch", "batch", "execute", "reply"}


def test_every_hop_is_read_back_from_jaeger(jaeger, native_required):
    otlp, query = jaeger
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    served, served_by, handed_over, handed_over_to = finished.stdout.split()
    assert (served_by, handed_over_to) == ("rust", "python")

    def complete(trace_id: str, service: str, wanted: set[str]) -> bool:
        return wanted <= spans_of(query, trace_id).get(service, set())

    wait_until(lambda: complete(served, "npufleet-sdk", {"call fft", "result"}), what="the caller's spans")
    wait_until(lambda: complete(served, "npufleet-worker-rust", WORKER_SPANS), what="the Rust worker's spans")
    wait_until(lambda: complete(handed_over, "npufleet-worker-rust", {"receive", "forward"}), what="the hand-over")
    wait_until(lambda: complete(handed_over, "npufleet-worker-python", WORKER_SPANS), what="the Python worker's spans")
