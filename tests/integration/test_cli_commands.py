"""The commands against a real fleet, found as a second terminal finds it: through the address that `up` leaves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from npufleet.broker import announcement
from npufleet.broker.local import LocalFleet
from npufleet.cli.app import app
from tests.support.arena_stand import folder_in
from tests.support.broker_stand import RELU, source_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def _fleet(folder: Path) -> Iterator[None]:
    """Run a fleet with a Python worker alone for all tests, in a thread with a loop of its own."""
    ready, stop = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def run() -> None:
        traces = {"NPUFLEET_TRACE_DIR": str(folder / "traces"), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        async with await LocalFleet.start(["python"], announce=folder / "address.json", environment=traces):
            ready.set()
            await asyncio.to_thread(stop.wait)

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            failed.append(error)
            ready.set()

    running = threading.Thread(target=thread)
    running.start()
    ready.wait(50)
    if failed:
        raise failed[0]
    yield
    stop.set()
    running.join(30)


@pytest.fixture(autouse=True)
def _terminal(_fleet: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "USER", "PASSWORD", "TOKEN", "CREDENTIALS"):
        monkeypatch.delenv(f"NPUFLEET_{name}", raising=False)
    monkeypatch.setenv("NPUFLEET_ADDRESS_FILE", str(folder / "address.json"))
    monkeypatch.setenv("NPUFLEET_TRACE_DIR", str(folder / "traces"))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "file")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def document(*words: str) -> Any:
    shown = run(*words, "--json")
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)


def npufleet(*words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a process of its own."""
    command = [sys.executable, "-m", "npufleet", *words]
    return subprocess.run(
        command, input=stdin, capture_output=True, env=source_environment(**environment), timeout=50, check=False
    )


def test_call_gives_the_numbers_and_who_computed_them() -> None:
    said = document("call", "fft", "--input", "[1, 2, 3, 4]", "--norm", "ortho")
    expected = np.fft.rfft([1, 2, 3, 4], norm="ortho")
    assert np.allclose(np.array(said["outputs"]["y"]["data"]) @ [1, 1j], expected)
    assert said["outputs"]["y"]["dtype"] == "complex128"
    assert (said["ok"], said["operation"], said["engine"], said["device"]) == (True, "fft", "python", "CPU")
    assert said["fallback_reason"] == "no_responders"
    assert set(said["timing"]) == {"queued", "fetching", "batching", "executing"}


def test_call_for_people() -> None:
    shown = run("call", "fft", "--input", "[1, 2, 3]", "--return-onesided", "-p", "n=4")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("y: complex128[3] [")
    assert "by the python engine on CPU (queued " in shown.stdout
    assert "fallback: no_responders\n" in shown.stdout


def test_call_without_input() -> None:
    said = document("call", "window", "--n", "4", "--window", "hamming", "--no-fftbins")
    assert np.allclose(said["outputs"]["y"]["data"], np.hamming(4))


def test_call_of_a_pipeline(folder: Path) -> None:
    steps = '[{"operation": "echo"}, {"operation": "fft", "params": {"norm": "ortho"}}]'
    (folder / "steps.json").write_text(steps)
    for given in (steps, str(folder / "steps.json")):
        said = document("call", "pipeline", "--input", "[1.0, 2, 3, 4]", "--steps", given)
        expected = np.fft.rfft([1, 2, 3, 4], norm="ortho")
        assert np.allclose(np.array(said["outputs"]["y"]["data"]) @ [1, 1j], expected)


def test_call_with_files_and_a_pipe(folder: Path) -> None:
    source, target = folder / "x.npy", folder / "y.npy"
    np.save(source, np.arange(8, dtype=np.float32))
    said = document("call", "fft", "-i", f"x={source}", "-o", str(target))
    assert said["outputs"]["y"] == {"dtype": "complex64", "shape": [5], "file": str(target)}
    assert np.allclose(np.load(target), np.fft.rfft(np.arange(8)))

    piped = npufleet("call", "fft", "-i", "-", "-o", "-", stdin=source.read_bytes())
    assert piped.returncode == 0, piped.stderr
    (folder / "piped.npy").write_bytes(piped.stdout)
    assert np.array_equal(np.load(folder / "piped.npy"), np.load(target))


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["fft", "-i", "[1]", "--n", "0"], 4, "invalid_parameter: parameter 'n' is 0; allowed: 1 to 16777216"),
        (["fft", "-i", "[1]", "-p", "speed=9"], 4, "invalid_parameter: unknown parameter 'speed' for fft"),
        (["fft", "-i", "z=[1]"], 4, "invalid_shape: "),
        (["pipeline", "-i", "[1]", "--steps", "[]"], 4, "invalid_parameter: parameter 'steps' has 0 steps"),
        (["infer", "--model", "missing", "-i", "x=[1]"], 4, "unknown_model: no model 'missing' is registered"),
        (["echo", "-i", "[1]", "--delay", "30", "--timeout", "0.3"], 5, "deadline_exceeded: "),
    ],
)
def test_a_refused_call_is_one_line(words: list[str], status: int, complaint: str) -> None:
    shown = run("call", *words)
    assert shown.exit_code == status
    assert shown.stdout == ""
    assert shown.stderr.startswith(complaint)
    assert shown.stderr.count("\n") == 1
    error = json.loads(run("call", *words, "--json").stdout)
    assert complaint.startswith(error["error"]["kind"])


def test_health_tells_the_four_components() -> None:
    report = document("health")
    assert report["ok"] is True
    assert set(report["components"]) == {"rust_workers", "python_workers", "npu", "matlab"}
    for component in report["components"].values():
        assert component["ok"] or component["reason"]
    assert report["components"]["rust_workers"] == {
        "ok": False, "count": 0, "reason": "no rust worker answers on this broker", "workers": []
    }  # fmt: skip
    (worker,) = report["components"]["python_workers"]["workers"]
    assert os.kill(worker["pid"], 0) is None
    assert {"echo", "fft"} <= set(worker["operations"])
    assert "CPU" in [device["name"] for device in worker["devices"] if device["available"]]
    assert "@" not in report["broker"]["url"], "the password is not shown"

    text = run("health").stdout
    for name in ("Rust workers", "Python workers", "NPU", "MATLAB", "Broker", "SDK"):
        assert name in text


def test_health_cleans_up_after_dead_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(tmp_path))
    arena = folder_in(tmp_path) / ("0" * 32)
    arena.touch(0o600)
    arena.write_bytes(bytes(4096))
    assert document("health", "--clean")["removed"] == [{"arena": "0" * 32, "bytes": 4096}]
    assert not arena.exists()
    assert document("health", "--clean")["removed"] == []
    assert "removed" not in document("health")
    assert "removed 0 arenas of dead processes" in run("health", "--clean").stdout


def test_models_come_and_go(folder: Path) -> None:
    (folder / "relu.xml").write_text(RELU)
    (folder / "relu.bin").write_bytes(b"")
    assert "no models are registered" in run("models", "list").stdout
    added = document("models", "add", "relu", str(folder / "relu.xml"), "--max-batch", "8")
    assert (added["ok"], added["name"], added["version"], added["format"], added["max_batch"]) == (
        True,
        "relu",
        1,
        "ir",
        8,
    )
    assert [worker["state"] for worker in added["workers"]] == ["ready"]

    said = document("call", "infer", "--model", "relu", "-i", "x:float32=[[-1, 0, 1, 2]]")
    assert said["outputs"]["y"]["data"] == [[0, 0, 1, 2]]

    assert [(each["name"], each["version"]) for each in document("models", "list")["models"]] == [("relu", 1)]
    assert "python ready on CPU" in run("models", "list").stdout
    details = run("models", "info", "relu").stdout
    assert "model.xml" in details
    assert "x: float32[?, 4]" in details
    measured = document("models", "benchmark", "relu", "--seconds", "0.2", "--requests", "2")
    assert (measured["model"], measured["version"], measured["count"] > 0) == ("relu", 1, True)
    assert "Throughput" in run("models", "benchmark", "relu", "--seconds", "0.1").stdout
    wrong = run("models", "benchmark", "relu", "--shape", "relu(1)")
    assert (wrong.exit_code, "allowed: a name with sizes" in wrong.stderr) == (4, True), wrong.stderr
    assert document("models", "serve", "relu", "--versions", "1")["models"][0]["policy"] == [1]
    assert document("models", "serve", "relu", "--versions", "latest")["models"][0]["policy"] == "latest"
    again = run("models", "add", "relu", str(folder / "relu.xml"), "--version", "1")
    assert again.exit_code == 4
    assert "has that version already" in again.stderr
    assert run("models", "remove", "relu").stdout == "removed relu\n"
    gone = run("models", "info", "relu")
    assert (gone.exit_code, gone.stderr) == (4, "unknown_model: no model 'relu' is registered\n")


def test_a_bad_model_gives_the_worker_s_words(folder: Path) -> None:
    (folder / "bad.onnx").write_bytes(bytes((0x08, 0x08, 0x3A, 0x00)))
    shown = run("models", "add", "bad", str(folder / "bad.onnx"))
    assert shown.exit_code == 4
    assert shown.stderr.startswith("invalid_parameter: no worker can load model 'bad': python worker failed: ")
    assert document("models", "list") == {"ok": True, "models": []}


def test_trace_shows_every_hop(folder: Path) -> None:
    called = npufleet("call", "fft", "-i", "[1, 2, 3]", "--json", OTEL_BSP_SCHEDULE_DELAY="50")
    assert called.returncode == 0, called.stderr
    trace_id = json.loads(called.stdout)["trace_id"]
    assert trace_id is not None

    names = {"call fft", "receive", "payload.fetch", "execute", "reply", "result"}
    said = _complete_trace(trace_id, names)
    assert {"npufleet-sdk", "npufleet-worker-python"} == {span["service"] for span in said["spans"]}
    assert document("trace")["trace_id"] == trace_id
    text = run("trace", trace_id[:8]).stdout
    assert trace_id in text
    assert "execute" in text
    missing = run("trace", "0" * 32)
    assert missing.exit_code == 1
    assert missing.stderr.startswith("not_found: ")


def _complete_trace(trace_id: str, names: set[str]) -> Any:
    """Ask until the worker's spans, which it writes on its own time, are there."""
    waiting = threading.Event()
    for _ in range(200):
        shown = run("trace", trace_id, "--json")
        said = json.loads(shown.stdout)
        if shown.exit_code == 0 and names <= {span["name"] for span in said["spans"]}:
            return said
        waiting.wait(0.05)
    raise AssertionError(shown.output)


def test_the_address_of_a_dead_fleet_is_not_used(folder: Path, tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    path = tmp_path / "address.json"
    path.write_text(json.dumps({"url": "nats://127.0.0.1:1", "pid": int(dead.stdout)}))
    assert announcement.read(path) is None
    assert announcement.read(folder / "address.json") is not None
