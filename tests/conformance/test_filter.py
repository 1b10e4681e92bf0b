"""`filter`: both engines filter alike, in one piece and chunk by chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npufleet import operations
from tests.support import engines


@st.composite
def designs(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of a filter, symmetric bands and refused ones among them."""
    btype = draw(st.sampled_from(["lowpass", "highpass", "bandpass", "bandstop"]))
    low = draw(st.sampled_from([0.1, 0.25, 0.4]) | st.floats(0.02, 0.9))
    high = draw(st.sampled_from([0.6, 0.75, 0.9]) | st.floats(0.05, 1.0))
    params: dict[str, Any] = {"btype": btype, "cutoff": [low, high] if btype.startswith("band") else low}
    params["order"] = draw(st.integers(1, 6))
    if draw(st.booleans()):
        params |= {"ftype": "cheby1", "rp": draw(st.floats(0.01, 6))}
    return params


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_engines_agree(data: st.DataObject) -> None:
    engines.native()
    params = data.draw(designs()) | {"axis": data.draw(st.integers(-2, 1))}
    params["zero_phase"] = data.draw(st.booleans())
    length, lines = data.draw(st.integers(1, 300)), data.draw(st.integers(0, 20))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = (length, lines) if params["axis"] in (0, -2) else (lines, length)
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    x = generator.standard_normal(shape).astype(dtype)
    engines.check_agreement("filter", {"x": x}, params, 2e-7 if dtype == "float32" else 1e-8)


def rust(tensors: dict[str, Any], params: dict[str, Any]) -> Any:
    engines.native()
    return engines.rust("filter", tensors, params)


def python(tensors: dict[str, Any], params: dict[str, Any]) -> Any:
    return operations.execute("filter", tensors, params)


@pytest.mark.parametrize("engine", [python, rust])
@pytest.mark.parametrize("shape", [(3000,), (7, 900), (2, 900)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("btype", "cutoff"), [("lowpass", 0.01), ("bandpass", [0.25, 0.75]), ("bandstop", [0.1, 0.3])])
def test_chunks_give_what_the_whole_gives(engine: Any, shape: Any, dtype: str, btype: str, cutoff: Any) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    params = {"btype": btype, "cutoff": cutoff, "order": 3}
    whole = engine({"x": x}, params)
    pieces, state = [], {}
    for chunk in np.split(x, [1, 2, 40, 300, 301, 800], axis=-1):
        answer = engine({"x": chunk, **state}, params)
        pieces.append(answer["y"])
        state = {"zi": answer["zf"]}
    exact = 1e-12 if dtype == "float64" else 1e-7
    np.testing.assert_allclose(
        np.concatenate(pieces, axis=-1), whole["y"], rtol=0, atol=exact * np.abs(whole["y"]).max()
    )
    np.testing.assert_allclose(state["zi"], whole["zf"], rtol=0, atol=1e-11 * np.abs(whole["zf"]).max())


def test_a_stream_may_change_engines() -> None:
    engines.native()
    x = np.random.default_rng(2).standard_normal((3, 500))
    params = {"btype": "bandstop", "cutoff": [20, 30], "fs": 100, "order": 5}
    whole = python({"x": x}, params)["y"]
    first = rust({"x": x[:, :200]}, params)
    rest = python({"x": x[:, 200:], "zi": first["zf"]}, params)
    np.testing.assert_allclose(np.concatenate([first["y"], rest["y"]], axis=-1), whole, rtol=0, atol=1e-11)
