"""`npufleet jobs`, `dead` and `queues` against a real broker and a Python worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from npufleet.cli import exit_codes
from npufleet.cli.app import app
from tests.support.jobs_stand import jobs_broker, taking
from tests.support.waiting import wait_until
from tests.support.worker_stand import Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., Result]]:
    with jobs_broker() as broker, taking(broker.url):
        yield lambda *words: CliRunner().invoke(app, [*words, "--url", broker.url])


def document(shown: Result) -> dict[str, Any]:
    assert shown.exit_code == 0, shown.output
    found: dict[str, Any] = json.loads(shown.stdout)
    assert found["ok"]
    return found


def test_submit_show_result(run: Callable[..., Result], tmp_path: Path) -> None:
    shown = run("jobs", "submit", "fft", "-i", "[1, 2, 3, 4]", "-p", "norm=ortho", "--lane", "high", "--key", "a key")
    job_id = shown.stdout.strip()
    file = tmp_path / "spectrum.npy"
    given = document(run("jobs", "result", job_id, "--json", "-o", str(file)))
    assert (given["job_id"], given["operation"], given["engine"]) == (job_id, "fft", "python")
    assert np.allclose(np.load(file), np.fft.rfft([1, 2, 3, 4], norm="ortho"))
    status = document(run("jobs", "show", job_id, "--json"))
    assert (status["state"], status["lane"], status["attempt"]) == ("succeeded", "high", 1)
    assert run("jobs", "show", job_id).stdout.split()[:2] == [job_id, "succeeded"]
    assert run("jobs", "watch", job_id).stdout.split()[:2] == [job_id, "succeeded"]
    assert run("jobs", "cancel", job_id).stdout.split()[:2] == [job_id, "succeeded"]
    assert job_id in run("jobs", "list").stdout
    again = run("jobs", "submit", "fft", "-i", "[1, 2, 3, 4]", "--key", "a key")
    assert again.stdout.strip() == job_id


def test_submit_and_wait(run: Callable[..., Result]) -> None:
    given = document(run("jobs", "submit", "fft", "-i", "[1, 1]", "--wait", "--json"))
    assert given["outputs"]["y"]["shape"] == [2]
    assert "by the python engine" in run("jobs", "submit", "fft", "-i", "[1, 1]", "--wait").stdout


def test_a_wait_shows_how_far_the_job_is_in_a_terminal(run: Callable[..., Result], monkeypatch: Any) -> None:
    words = ("jobs", "submit", "echo", "-i", "x=[1]", "-p", "delay=1.2", "--wait")
    assert run(*words).stderr == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = run(*words)
    assert shown.exit_code == 0
    assert "running" in shown.stderr
    assert "%" in shown.stderr
    assert run(*words, "--json").stderr == ""


def test_a_chain(run: Callable[..., Result]) -> None:
    words = ("jobs", "chain", "-i", "[1, 2, 3, 4]", "fft norm=ortho", "ifft norm=ortho input_onesided=true")
    given = document(run(*words, "--wait", "--json"))
    assert given["outputs"]["y"]["shape"] == [4]
    chain_id = run(*words, "--key", "the chain").stdout.strip()
    assert document(run("jobs", "result", chain_id, "--json"))["outputs"]["y"]["shape"] == [4]
    assert document(run("jobs", "show", f"{chain_id}-2", "--json"))["operation"] == "ifft"
    assert run("jobs", "chain", "-i", "[1, 2]", "fft", "nosuch").exit_code == exit_codes.REFUSED
    assert run("jobs", "chain", "-i", "[1, 2]", "fft", "'").exit_code == exit_codes.USAGE


def test_cancel_and_later(run: Callable[..., Result]) -> None:
    later = document(run("jobs", "submit", "fft", "-i", "[1, 1]", "--run-at", "3600", "--json"))["job_id"]
    listed = document(run("jobs", "list", "--state", "scheduled", "--json"))["jobs"]
    assert [each["job_id"] for each in listed] == [later]
    assert document(run("jobs", "cancel", later, "--json"))["state"] == "cancelled"
    ended = run("jobs", "result", later)
    assert ended.exit_code == exit_codes.FAILED
    assert ended.stderr.splitlines()[-1].startswith("cancelled: ")


def test_dead_letters(run: Callable[..., Result]) -> None:
    words = ("jobs", "submit", "infer", "-i", "x=[1, 2]", "--model", "nosuch", "--retries", "0", "--wait")
    failed = run(*words)
    assert failed.exit_code == exit_codes.REFUSED
    letters = wait_until(lambda: document(run("dead", "list", "--json"))["dead"], "a dead letter")
    job_id = letters[0]["job_id"]
    assert letters[0]["error_kind"] == "unknown_model"
    assert job_id in run("dead", "list").stdout
    assert "unknown_model" in run("dead", "show", job_id).stdout
    assert [event["state"] for event in document(run("dead", "show", job_id, "--json"))["history"]][-1] == "failed"
    again = run("dead", "replay", job_id).stdout.strip()
    assert again == f"{job_id}-r1"
    found = wait_until(lambda: document(run("dead", "list", "--json"))["dead"], "the second dead letter")
    assert [letter["job_id"] for letter in found] == [again]
    third = document(run("jobs", "retry", again, "--json"))
    assert third["retry_of"] == again
    wait_until(lambda: document(run("dead", "list", "--json"))["dead"], "the third dead letter")
    assert run("dead", "purge").exit_code == exit_codes.USAGE
    assert document(run("dead", "purge", "--all", "--json"))["removed"] == 1
    assert run("dead", "show", third["job_id"]).exit_code == exit_codes.REFUSED
    assert run("dead", "list").stdout == "no dead letters\n"


def test_queues(run: Callable[..., Result]) -> None:
    found = document(run("queues", "--json"))["queues"]
    assert [each["lane"] for each in found] == ["realtime", "critical", "high", "normal", "low"]
    assert all(each["waiting"] == 0 for each in found)
    assert "redelivered" in run("queues").stdout


def test_streams_are_made_where_they_are_missing() -> None:
    with Broker() as bare:
        refused = CliRunner().invoke(app, ["jobs", "submit", "fft", "-i", "[1]", "--url", bare.url])
        assert refused.exit_code == exit_codes.UNAVAILABLE
        assert "npufleet queues create" in refused.stderr
        assert CliRunner().invoke(app, ["queues", "create", "--url", bare.url]).exit_code == 0
        made = CliRunner().invoke(app, ["jobs", "submit", "fft", "-i", "[1]", "--url", bare.url])
        assert made.exit_code == 0
