"""A worker's options: command line before environment, one set of names for both engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from npufleet.worker import options
from npufleet.worker.__main__ import main


def test_defaults():
    parsed = options.parse([], {})
    assert parsed == options.Options(connection={})
    assert parsed.executor_count() >= 1
    assert parsed.connect_options("n").url == "nats://127.0.0.1:4222"


def test_the_command_line_comes_before_the_environment():
    environment = {
        "NPUFLEET_URL": "nats://a:1",
        "NPUFLEET_USER": "u",
        "NPUFLEET_PASSWORD": "secret",
        "NPUFLEET_CACHE_DIR": "/c",
        "NPUFLEET_OPENVINO_LIBRARY": "/lib",
        "NPUFLEET_TOKEN": "",
    }
    parsed = options.parse(["--url", "nats://b:2", "--devices", "cpu, npu", "--drain-timeout", "1.5"], environment)
    assert parsed.connection == {"url": "nats://b:2", "user": "u", "password": "secret"}
    assert (parsed.cache_dir, parsed.openvino_library) == ("/c", "/lib")
    assert (parsed.devices, parsed.drain_timeout) == (("CPU", "NPU"), 1.5)
    assert parsed.connect_options("n").inbox_prefix == "_INBOX_u"


def test_the_rust_workers_configuration():
    parsed = options.parse(["--engine", "rust", "--url", "nats://b:2", "--json", "--queue-limit", "7"], {})
    assert json.loads(parsed.rust_config()) == {
        "url": "nats://b:2",
        "prefix": "npu",
        "queue_limit": 7,
        "executors": 0,
        "devices": ["NPU", "GPU", "CPU"],
        "threads": 0,
        "openvino_library": options.packaged_openvino(),
        "json": True,
        "drain_timeout": 30.0,
        "device_timeout": 10.0,
        "device_retry": 30.0,
    }
    given = options.parse(["--openvino-library", "/lib.so"], {})
    assert json.loads(given.rust_config())["openvino_library"] == "/lib.so"


def test_the_openvino_of_the_python_package_is_found():
    library = options.packaged_openvino()
    assert library is not None
    assert Path(library).is_file()
    assert Path(library).name.startswith("libopenvino_c.so")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--queue-limit", "0"],
        ["--executors", "-1"],
        ["--devices", ""],
        ["--devices", "TPU"],
        ["--drain-timeout", "-1"],
        ["--drain-timeout", "nan"],
        ["--engine", "java"],
        ["--engine", "rust", "--primary"],
    ],
)
def test_wrong_options_end_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        options.parse(arguments, {})
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_the_rust_worker_gets_its_configuration(monkeypatch):
    import sys
    from types import SimpleNamespace

    given = []
    monkeypatch.setitem(sys.modules, "npufleet._native", SimpleNamespace(run_worker=given.append))
    assert main(["--engine", "rust", "--prefix", "p"]) == 0
    assert json.loads(given[0])["prefix"] == "p"
