"""The command line without a fleet: help, versions, wrong use, and what the exit status says."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from npufleet.broker import announcement
from npufleet.cli import exit_codes
from npufleet.cli.app import app
from npufleet.errors import BY_KIND
from npufleet.wire import contract

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "nats://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("URL", "USER", "PASSWORD", "TOKEN", "CREDENTIALS"):
        monkeypatch.delenv(f"NPUFLEET_{name}", raising=False)
    monkeypatch.setenv("NPUFLEET_ADDRESS_FILE", f"{tmp_path}/address.json")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("COLUMNS", "200")


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


def test_help_names_every_command_and_the_exit_status() -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    for name in ("up", "demo", "worker", "call", "models", "health", "trace", "version"):
        assert f"\n  {name} " in shown.stdout
    assert "Exit status: 0 done; 1 the operation failed" in shown.stdout


@pytest.mark.parametrize("name", sorted(contract.OPERATIONS))
def test_help_of_an_operation_is_its_row(name: str) -> None:
    row = contract.operation(name)
    shown = run("call", name, "--help")
    assert shown.exit_code == 0

    def joined(text: str) -> str:
        return "".join(text.split())  # lines are broken at spaces and hyphens

    words = joined(shown.stdout)
    assert joined(row.summary) in words
    for parameter in row.parameters.values():
        assert f"--{parameter.name.replace('_', '-')}" in words
        assert joined(parameter.summary) in words
        assert joined(parameter.allowed) in words
    for tensor in (*(row.inputs or ()), *(row.outputs or ())):
        assert joined(f"{tensor.shown} ({', '.join(tensor.dtypes)}): {tensor.summary}") in words
    assert ("--model" in words) == row.model


def test_list_of_operations_is_the_contract() -> None:
    shown = run("call", "--help").stdout
    for name in contract.OPERATIONS:
        assert f"\n  {name} " in shown


def test_version_tells_every_part() -> None:
    shown = run("version", "--json")
    assert shown.exit_code == 0
    versions = json.loads(shown.stdout)
    assert set(versions) == {"npufleet", "extension", "openvino", "nats-server", "python"}
    for value in versions.values():
        assert isinstance(value, str) or (value["version"] is None and value["reason"])
    assert run("version").exit_code == 0
    assert run("--version").stdout.strip() == versions["npufleet"]


def test_a_missing_extension_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from npufleet import _engine

    monkeypatch.setenv("NPUFLEET_NATIVE", "off")
    _engine._decide.cache_clear()
    try:
        extension = json.loads(run("version", "--json").stdout)["extension"]
    finally:
        _engine._decide.cache_clear()
    assert extension == {"version": None, "reason": "NPUFLEET_NATIVE is 'off'"}


@pytest.mark.parametrize(
    "words",
    [
        ["health"],
        ["call", "fft", "--input", "[1, 2, 3]"],
        ["models", "list"],
        ["models", "info", "tiny"],
        ["models", "remove", "tiny"],
        ["jobs", "submit", "fft", "--input", "[1, 2, 3]"],
        ["jobs", "list"],
        ["jobs", "show", "a"],
        ["jobs", "result", "a"],
        ["jobs", "cancel", "a"],
        ["jobs", "retry", "a"],
        ["jobs", "watch", "a"],
        ["dead", "list"],
        ["dead", "show", "a"],
        ["dead", "replay", "a"],
        ["dead", "purge", "a"],
        ["queues"],
        ["queues", "create"],
    ],
)
def test_no_broker_is_one_line_and_status_3(words: list[str]) -> None:
    shown = run(*words, "--url", NOBODY)
    assert shown.exit_code == exit_codes.UNAVAILABLE
    assert shown.stdout == ""
    assert shown.stderr.startswith("unavailable: cannot connect to ")
    assert shown.stderr.count("\n") == 1

    shown = run(*words, "--url", NOBODY, "--json")
    assert shown.exit_code == exit_codes.UNAVAILABLE
    error = json.loads(shown.stdout)
    assert error["ok"] is False
    assert (error["error"]["kind"], error["error"]["code"]) == ("unavailable", 503)
    assert shown.stderr == ""


def test_an_unknown_operation_is_refused_by_name() -> None:
    shown = run("call", "fourier")
    assert shown.exit_code == exit_codes.REFUSED
    allowed = ", ".join(contract.OPERATIONS)
    assert shown.stderr == f"unknown_operation: unknown operation 'fourier'; allowed: {allowed}\n"
    shown = run("call", "fourier", "--json")
    assert json.loads(shown.stdout)["error"]["kind"] == "unknown_operation"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["call", "fft", "--input", "somewhere.txt"],
        ["call", "fft", "--input", "/nowhere/x.npy"],
        ["call", "fft", "--input", "[1, 2"],
        ["call", "fft", "--input", "[1]", "--param", "n"],
        ["call", "fft", "--n", "many"],
        ["call", "infer", "--input", "x=[1]"],
        ["call", "infer", "--model", "m", "--input", "[1]"],
        ["models", "add", "only-a-name"],
        ["trace", "xyz"],
        ["trace", "abcd", "--last"],
        ["up", "--port", "70000"],
        ["worker", "--engine", "fortran"],
    ],
)
def test_wrong_use_is_status_2_without_a_traceback(words: list[str]) -> None:
    shown = run(*words)
    assert shown.exit_code == exit_codes.USAGE
    assert "Traceback" not in shown.output


def test_up_refuses_what_it_cannot_run() -> None:
    shown = run("up", "--workers", "rust,fortran")
    assert shown.exit_code == exit_codes.REFUSED
    assert shown.stderr == "invalid_parameter: worker is 'fortran'; allowed: rust, python\n"


def test_every_status_belongs_to_a_kind_and_is_documented() -> None:
    assert set(exit_codes.BY_KIND) <= set(BY_KIND)
    used = {exit_codes.OK, exit_codes.FAILED, exit_codes.USAGE, exit_codes.INTERRUPTED, *exit_codes.BY_KIND.values()}
    for status in used:
        assert f" {status} " in exit_codes.TABLE


def test_worker_help_is_the_worker_s_own() -> None:
    shown = run("worker", "--help")
    assert shown.exit_code == 0
    assert "--queue-limit" in shown.stdout


@pytest.mark.parametrize(
    ("words", "variable", "expected"),
    [
        ([], None, "nats://u:p@127.0.0.1:7"),
        ([], "nats://elsewhere:1", "nats://elsewhere:1"),
        (["--url", "nats://given:1"], None, None),
    ],
)
def test_a_worker_joins_the_fleet_that_runs_here(
    words: list[str], variable: str | None, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcement.write(tmp_path / "address.json", "nats://u:p@127.0.0.1:7")
    seen: list[str | None] = []
    monkeypatch.setattr("npufleet.worker.__main__.main", lambda _: seen.append(os.environ.get("NPUFLEET_URL")) or 0)
    monkeypatch.setattr("os.environ", dict(os.environ))
    if variable is not None:
        os.environ["NPUFLEET_URL"] = variable
    assert run("worker", *words).exit_code == 0
    assert seen == [expected]
