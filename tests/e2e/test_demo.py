"""The demo does its whole job on real input, with the compiled core and without it."""

import json
import os
import subprocess
import sys


def run_demo(tmp_path, **environment):
    finished = subprocess.run(
        [sys.executable, "-m", "npufleet", "demo", "--json"],
        env={**os.environ, "NPUFLEET_TRACE_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


def check_main_job(outcome):
    assert outcome["ok"] is True
    assert 57 <= outcome["heart_rate_bpm"] <= 60  # HeartPy's own analysis of the recording says 58.9
    labels = {file["path"].rsplit("/", 1)[-1]: file["label"] for file in outcome["files"]}
    assert len(labels) > 10
    python = [label for path, label in labels.items() if path.endswith(".py")]
    assert python.count("python") >= 0.8 * len(python) > 0
    assert all(0 <= file["score"] <= 1 for file in outcome["files"])
    spans = {span["name"] for span in outcome["spans"]}
    assert {"call fft", "receive", "payload.fetch", "batch", "execute", "reply", "result"} <= spans
    assert all(span["microseconds"] >= 0 for span in outcome["spans"])


def test_demo_with_both_engines(tmp_path, native_required):
    outcome = run_demo(tmp_path)
    check_main_job(outcome)
    assert outcome["fallback"]["engine"] == "python"
    assert outcome["fallback"]["reason"].split(":")[0] in {"no_responders", "no_answer"}
    assert outcome["engines"]["rust"] > 0
    assert outcome["engines"]["python"] > 0
    assert {span["service"] for span in outcome["spans"]} == {"npufleet-sdk", "npufleet-worker-rust"}


def test_demo_without_the_compiled_core(tmp_path):
    outcome = run_demo(tmp_path, NPUFLEET_NATIVE="off")
    check_main_job(outcome)
    assert outcome["fallback"]["engine"] == "python"
    assert set(outcome["engines"]) == {"python"}
