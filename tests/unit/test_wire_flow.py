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
from npufleet.errors import FleetError, InvalidFrameError, InvalidParameterError
from npufleet.wire.flow import Flow

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


def test_a_plan_that_no_message_holds() -> None:
    with pytest.raises(InvalidParameterError, match="header"):
        Flow.of([[{"operation": "infer", "model": "m" * 60}] * 1000]).encode({})
