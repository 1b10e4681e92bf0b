"""Plans of chains and groups, and what agents say: whatever the bytes are, they are read or refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npufleet.agents import values
from npufleet.errors import FleetError, InvalidFrameError, InvalidParameterError, InvalidShapeError
from npufleet.wire import flow, frame
from npufleet.wire.flow import Flow, taken

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["operation", "params", "model", "inputs", "request_inputs", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
STEP = st.fixed_dictionaries(
    {"operation": st.sampled_from(["fft", "echo", "pipeline", "infer", "nosuch"])},
    optional={"params": JSON, "model": JSON, "inputs": JSON, "request_inputs": JSON, "else": JSON},
)


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (Flow.decode, values.decode):
        with contextlib.suppress(FleetError):
            read(data)


@given(JSON | st.lists(STEP | st.lists(STEP, max_size=3), max_size=4))
def test_stages_are_read_or_refused(stages: Any) -> None:
    try:
        made = Flow.of(stages)
    except FleetError:
        return
    again, constants = Flow.decode(made.encode({}))
    assert (again, constants) == (made, {})


@given(st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=4))
def test_what_agents_say_comes_back(said: dict[str, Any]) -> None:
    assert values.decode(values.encode("it", said)) == (said, False)
    assert values.decode(values.encode("it", said, as_json=True)) == (said, True)


def test_arrays_come_back_as_arrays_and_as_lists() -> None:
    x = np.arange(6.0).reshape(2, 3)
    given_back = values.decode(values.encode("it", {"x": x, "n": np.float64(2.0)}))[0]
    assert np.array_equal(given_back["x"], x)
    assert given_back["n"] == 2.0
    assert json.loads(values.encode("it", {"x": x}, as_json=True)) == {"x": x.tolist()}
    for wrong in ([1], 3, {1: 2}):
        with pytest.raises(InvalidParameterError, match="it is"):
            values.encode("it", wrong)
    with pytest.raises(InvalidFrameError, match="JSON object"):
        values.decode(b"[1]")


def test_ids_follow_from_the_plan() -> None:
    made = Flow.of([{"operation": "fft"}, [{"operation": "echo"}] * 2])
    assert [each.job_id("f") for stage in made.stages for each in stage] == ["f-1", "f-2-1", "f-2-2"]


def test_what_a_step_takes_after_a_group() -> None:
    group = [{"operation": "echo"}] * 2
    given_by = [{"x": np.zeros(3), "a": np.ones(1)}, {"x": np.ones(3)}]

    def after(step: dict[str, Any]) -> dict[str, Any]:
        made = Flow.of([group, step])
        return taken(made.stages[1][0], made.stages[0], given_by, {"w": np.full(2, 7.0)})

    assert {name: array.tolist() for name, array in after({"operation": "echo"}).items()} == {"x": [[0] * 3, [1] * 3]}
    picked = after({"operation": "echo", "inputs": {"one": "2.x", "a": "1.a"}, "request_inputs": {"w": "w"}})
    assert {name: array.tolist() for name, array in picked.items()} == {"one": [1] * 3, "a": [1], "w": [7, 7]}
    with pytest.raises(InvalidShapeError, match=r"step 2 \(echo\).*'3.x'"):
        after({"operation": "echo", "inputs": {"x": "3.x"}})
    given_by[1]["x"] = np.ones(4)
    with pytest.raises(InvalidShapeError, match="all alike"):
        after({"operation": "echo"})


def test_limits() -> None:
    step = {"operation": "fft"}
    for stages in ([], [step] * (flow.STAGES + 1), [[step] * (flow.MEMBERS + 1)], "fft", None):
        with pytest.raises(InvalidParameterError, match="allowed"):
            Flow.of(stages)
    with pytest.raises(InvalidParameterError, match="header"):
        Flow.of([[{"operation": "infer", "model": "m" * 60}] * 1000]).encode({})
    assert frame.decode(Flow.of([step]).encode({}))[1] == {"stages": [step]}
