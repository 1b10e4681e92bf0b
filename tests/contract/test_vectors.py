"""The golden vectors through the Python implementation, and through the compiled one where it is there."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np
import pytest

from npufleet import operations
from npufleet.errors import FleetError, InvalidFrameError, UnknownOperationError
from npufleet.wire import contract, frame
from npufleet.wire.claim import Claim
from npufleet.wire.dtype import DTYPES
from npufleet.wire.flow import Flow, request
from npufleet.wire.subject import Subject
from tests.contract import vectors
from tests.contract.vectors import cases, check_answer

OPERATIONS = [
    pytest.param(operation, case, id=f"{operation}: {case['name']}")
    for operation, numbers in sorted(vectors.operations().items())
    for case in numbers
]


@pytest.mark.parametrize("case", cases("frames", "valid"))
def test_valid_frame(case: dict[str, Any]) -> None:
    content = bytes.fromhex(case["frame_hex"])
    tensors, params = frame.decode(content)
    assert params == case["params"]
    assert sorted(tensors) == sorted(tensor["name"] for tensor in case["tensors"])
    for row in case["tensors"]:
        found = tensors[row["name"]]
        assert found.dtype == DTYPES[row["dtype"]].numpy
        assert found.shape == tuple(row["shape"])
        assert found.tobytes() == bytes.fromhex(row["data_hex"])


@pytest.mark.parametrize("case", cases("frames", "valid"))
def test_valid_frame_survives_our_encoder(case: dict[str, Any]) -> None:
    tensors, params = frame.decode(bytes.fromhex(case["frame_hex"]))
    again, params_again = frame.decode(frame.encode(tensors, params))
    assert params_again == params
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in again.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in tensors.items()
    }


@pytest.mark.parametrize("case", cases("frames", "invalid"))
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_invalid_frame(case: dict[str, Any], kind: type) -> None:
    with pytest.raises(FleetError) as caught:
        frame.decode(kind(bytes.fromhex(case["frame_hex"])))
    assert caught.value.kind == case["kind"]


@pytest.mark.parametrize("case", cases("subjects", "valid", "subject"))
def test_valid_subject(case: dict[str, Any]) -> None:
    parts = {key: value for key, value in case.items() if key != "subject"}
    assert Subject.parse(case["subject"]) == Subject(**parts)
    assert Subject(**parts).format() == case["subject"]


@pytest.mark.parametrize("case", cases("subjects", "invalid", "reason"))
def test_invalid_subject(case: dict[str, Any]) -> None:
    with pytest.raises(UnknownOperationError):
        Subject.parse(case["subject"])


@pytest.mark.parametrize("case", cases("claims", "valid", "text"))
def test_valid_claim(case: dict[str, Any]) -> None:
    claim = Claim(bytes.fromhex(case["arena"]), case["slot"], case["generation"], case["length"])
    assert Claim.parse(case["text"]) == claim
    assert Claim.parse(str(claim)) == claim


@pytest.mark.parametrize("case", cases("claims", "invalid", "reason"))
def test_invalid_claim(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidFrameError):
        Claim.parse(case["text"])


@pytest.mark.parametrize(("operation", "case"), OPERATIONS)
def test_python_operation(operation: str, case: dict[str, Any]) -> None:
    def execute(content: bytes) -> bytes:
        tensors, params = frame.decode(content)
        return frame.encode(operations.execute(operation, tensors, params))

    _check(execute, case, None)


@pytest.mark.parametrize(("operation", "case"), OPERATIONS)
def test_native_operation(operation: str, case: dict[str, Any]) -> None:
    if os.environ.get("NPUFLEET_NATIVE") == "off":
        pytest.skip("the compiled extension is switched off")
    try:
        native = importlib.import_module("npufleet._native")
    except ImportError as error:
        pytest.skip(f"no compiled extension: {error}")
    _check(lambda content: native.execute(operation, content), case, "rust")


def _check(execute: Any, case: dict[str, Any], engine: str | None) -> None:
    kind = "unsupported" if engine in case.get("unsupported_by", ()) else case["kind"]
    content = bytes.fromhex(case["frame_hex"])
    if kind is None:
        check_answer(case, execute(content))
        return
    with pytest.raises(FleetError) as caught:
        execute(content)
    assert caught.value.kind == kind


def test_one_bad_line_of_a_batch_does_not_touch_the_others() -> None:
    lines = np.ones((3, 8))
    lines[1, 3] = np.nan
    spectrum = operations.execute("fft", {"x": lines}, {})["y"]
    assert np.isfinite(spectrum[[0, 2]]).all()
    assert not np.isfinite(spectrum[1]).any()


@pytest.mark.parametrize("case", cases("plans", "valid"))
def test_valid_plan(case: dict[str, Any]) -> None:
    plan, _ = Flow.decode(bytes.fromhex(case["frame_hex"]))
    assert [[member.job_id("f") for member in stage] for stage in plan.stages] == case["jobs"]
    steps = [[member.step for member in stage] for stage in plan.stages]
    what = [[".".join(filter(None, (step["operation"], step.get("model")))) for step in stage] for stage in steps]
    assert what == case["what"]


@pytest.mark.parametrize("case", cases("plans", "invalid"))
def test_invalid_plan(case: dict[str, Any]) -> None:
    with pytest.raises(FleetError) as refused:
        Flow.decode(bytes.fromhex(case["frame_hex"]))
    assert refused.value.kind == case["kind"]
    assert str(refused.value).startswith(case["says"])


@pytest.mark.parametrize("case", cases("plans", "requests"))
def test_request_of_a_step(case: dict[str, Any]) -> None:
    plan, constants = Flow.decode(bytes.fromhex(case["frame_hex"]))
    given = [frame.decode(bytes.fromhex(each))[0] for each in case["given_hex"]]
    before, (*_, member) = plan.stages
    if "kind" in case:
        with pytest.raises(FleetError) as refused:
            request(member, before, given, constants)
        assert refused.value.kind == case["kind"]
        assert str(refused.value).startswith(case["says"])
        return
    found, params = frame.decode(request(member, before, given, constants))
    expected, all_params = frame.decode(bytes.fromhex(case["expect_hex"]))
    assert contract.operation(member.step["operation"]).check_params(params) == all_params
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in found.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in expected.items()
    }
