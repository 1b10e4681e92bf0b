"""The contract and the Python package say the same, in both directions."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

import npufleet
from npufleet import _typed, errors, operations
from npufleet.wire import claim, contract, frame, header, layout, subject
from npufleet.wire.document import DOCUMENT
from npufleet.wire.dtype import DTYPES
from npufleet.wire.rules import RULES
from tests.contract.vectors import CONTRACT, CONTRACT_DIRECTORY
from tests.contract.vectors import operations as operations_vectors

PACKAGE = Path(inspect.getfile(npufleet)).parent
ROWS = CONTRACT["operations"]
OWN_METHOD = {name for name, row in ROWS.items() if row.get("model")}


def test_derived_files_are_fresh() -> None:
    command = [sys.executable, str(CONTRACT_DIRECTORY / "generate.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_package_carries_the_contract() -> None:
    assert json.loads(json.dumps(CONTRACT)) == DOCUMENT


def test_errors() -> None:
    classes = {value for value in vars(errors).values() if inspect.isclass(value) and _is_kind(value)}
    ours = {(error.kind, error.code, error.retry) for error in classes}
    assert ours == {(row["kind"], row["code"], row["retry"]) for row in CONTRACT["errors"]}
    assert list(errors.BY_KIND) == [row["kind"] for row in CONTRACT["errors"]]
    assert set(errors.BY_KIND.values()) == classes


def _is_kind(value: type) -> bool:
    return issubclass(value, errors.FleetError) and value is not errors.FleetError


def test_error_tree_in_the_docstring() -> None:
    rows = re.findall(r"── (\w+) +(\w+) +(\d+)", errors.__doc__ or "")
    assert rows == [(error.__name__, error.kind, str(error.code)) for error in errors.BY_KIND.values()]


def test_headers() -> None:
    constants = {name: value for name, value in vars(header).items() if name.isupper() and not name.startswith("_")}
    ours = {name.lower(): value for name, value in constants.items() if isinstance(value, str)}
    assert ours == CONTRACT["headers"]


def test_lanes_limits_and_patterns() -> None:
    assert list(contract.LANES) == CONTRACT["lanes"]["order"]
    assert CONTRACT["lanes"]["default"] == contract.DEFAULT_LANE
    assert contract.NAME_PATTERN.pattern == CONTRACT["names"]["pattern"]
    assert claim.PATTERN.pattern.replace("(", "").replace(")", "") == CONTRACT["claim"]["pattern"]
    ours = {
        "header_bytes": contract.HEADER_LIMIT,
        "tensors": contract.TENSOR_LIMIT,
        "dimensions": contract.RANK_LIMIT,
        "tensor_name_bytes": contract.NAME_LIMIT,
        "alignment": contract.ALIGNMENT,
        "result_bytes": contract.RESULT_LIMIT,
    }
    assert ours == CONTRACT["limits"]


def test_dtypes() -> None:
    ours = {word: {"numpy": row.numpy.name, "bytes": row.numpy.itemsize} for word, row in DTYPES.items()}
    assert ours == CONTRACT["dtypes"]


def test_stored_dtypes_are_those_of_safetensors() -> None:
    for word, row in DTYPES.items():
        if word != "C128":
            content, _ = layout.write([("x", row, (1,))], "")
            assert load_safetensors(content + bytes(row.size))["x"].dtype == row.numpy


@pytest.mark.parametrize("route", subject.ROUTES)
def test_subjects_follow_their_templates(route: str) -> None:
    def filled(model: str | None) -> str:
        text = CONTRACT["subjects"][route].replace("[.{model}]", f".{model}" if model else "")
        prefix = CONTRACT["subjects"]["prefix"]
        return str(text.format(prefix=prefix, lane="low", operation="infer" if model else "fft"))

    assert subject.Subject("fft", None, route, "low").format() == filled(None)
    assert subject.Subject("infer", "mlp", route, "low").format() == filled("mlp")
    assert subject.QUEUES[route] == CONTRACT["queues"][route]


def test_cancel_subject_follows_its_template() -> None:
    identity = subject.call_id("_INBOX.client.7")
    assert identity == "client.7"
    template = CONTRACT["subjects"]["cancel"]
    assert subject.cancel(identity) == template.format(prefix=CONTRACT["subjects"]["prefix"], id=identity)


def test_operations_in_the_registry() -> None:
    assert contract.OPERATIONS.keys() == ROWS.keys()
    assert operations.REGISTRY.keys() == ROWS.keys() - OWN_METHOD
    assert RULES.keys() <= ROWS.keys()


def test_one_file_per_operation_in_both_languages() -> None:
    ours = ROWS.keys() - OWN_METHOD
    files = {path.stem for path in (PACKAGE / "operations").glob("*.py")} - {"__init__"}
    assert files == ours
    kernels = CONTRACT_DIRECTORY.parents[1] / "workers-rs" / "crates" / "operations" / "src"
    assert {path.stem for path in kernels.glob("*.rs")} - {"lib"} == ours


def test_every_operation_has_vectors() -> None:
    vectors = operations_vectors()
    assert vectors.keys() == ROWS.keys() - OWN_METHOD
    for name, cases in vectors.items():
        assert {case["kind"] for case in cases} >= {None, "invalid_parameter"}, name
        mentioned = " ".join(bytes.fromhex(case["frame_hex"]).decode("latin-1") for case in cases)
        for parameter in ROWS[name].get("parameters", []):
            assert f'\\"{parameter["name"]}\\"' in mentioned, (name, parameter["name"])


@pytest.mark.parametrize("mixin", [_typed.AsyncOperations, _typed.Operations])
def test_typed_methods(mixin: type) -> None:
    methods = {name for name, value in vars(mixin).items() if inspect.isfunction(value)}
    assert methods == ROWS.keys() - OWN_METHOD
    for name in methods:
        signature = inspect.signature(getattr(mixin, name)).parameters
        named = {key: value.default for key, value in signature.items() if value.kind is value.KEYWORD_ONLY}
        declared = {
            row["name"]: inspect.Parameter.empty if row.get("required") else row.get("default")
            for row in ROWS[name].get("parameters", [])
        }
        assert named == {**declared, "timeout": 30.0, "lane": CONTRACT["lanes"]["default"]}
        given = [key for key, value in signature.items() if value.kind is value.POSITIONAL_OR_KEYWORD]
        inputs = ROWS[name]["inputs"]
        open_ended = inputs == "any" or any(row.get("numbered") for row in inputs)
        assert given == ["self", *(["tensors"] if open_ended else [row["name"] for row in inputs])]


def test_typed_methods_send_what_differs_from_the_default() -> None:
    seen: list[Any] = []

    class Recorder(_typed.Operations):
        def call(self, *args: Any, **kwargs: Any) -> Any:
            seen.append((*args, kwargs))
            return type("Answer", (), {"array": np.ones(1)})

    recorder = Recorder()
    recorder.fft([1.0])
    recorder.fft([1.0], n=4, axis=0, norm="ortho", return_onesided=False, timeout=1.0, lane="low")
    recorder.echo({"x": [1.0]}, delay=0.5)
    recorder.window(n=8, window="kaiser", beta=5.0)
    usual = {"timeout": 30.0, "lane": "normal"}
    every = {"n": 4, "axis": 0, "norm": "ortho", "return_onesided": False}
    assert seen == [
        ("fft", [1.0], {}, usual),
        ("fft", [1.0], every, {"timeout": 1.0, "lane": "low"}),
        ("echo", {"x": [1.0]}, {"delay": 0.5}, usual),
        ("window", {}, {"n": 8, "window": "kaiser", "beta": 5.0}, usual),
    ]


def test_alignment_of_what_we_write() -> None:
    content = frame.encode({"a": np.zeros(3, np.uint8), "b": np.zeros(1), "c": np.zeros(1, np.float32)}, {"n": 1})
    tensors, _ = frame.decode(content)
    assert len(content[: layout.header_end(content)]) % contract.ALIGNMENT == 0
    assert list(tensors) == ["b", "c", "a"]
