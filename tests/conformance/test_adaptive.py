"""`adaptive`: both engines learn alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import engines


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_engines_agree(data: st.DataObject) -> None:
    engines.native()
    method, order = data.draw(st.sampled_from(["lms", "nlms", "rls"])), data.draw(st.integers(1, 20))
    params: dict[str, Any] = {"method": method, "order": order, "axis": data.draw(st.integers(-2, 1))}
    if method != "rls" and data.draw(st.booleans()):
        params["mu"] = data.draw(st.floats(0, 0.05 if method == "lms" else 2.1))
    if method == "rls" and data.draw(st.booleans()):
        params |= {"lam": data.draw(st.floats(0.9, 1)), "delta": data.draw(st.floats(0.001, 10))}
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = (data.draw(st.integers(0, 5)), data.draw(st.integers(1, 100)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    x = generator.standard_normal(shape if params["axis"] in (-1, 1) else shape[::-1]).astype(dtype)
    tensors = {"x": x, "d": generator.standard_normal(x.shape).astype(dtype)}
    if data.draw(st.booleans()):
        tensors["w0"] = generator.standard_normal(order)
    engines.check_agreement("adaptive", tensors, params, 1e-6 if dtype == "float32" else 1e-8)
