"""`wavelet`: both engines transform alike, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from npufleet.wire import contract
from tests.support import engines

CHOICES = {name: row.choices for name, row in contract.operation("wavelet").parameters.items()}
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
# Straight lines through the last elements leave the line far behind: what is rounded there is a hundred times as large.
EXTRAPOLATING = ("smooth", "antireflect")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_engines_agree(data: st.DataObject) -> None:
    engines.native()
    params: dict[str, Any] = {name: data.draw(st.sampled_from(CHOICES[name])) for name in ("wavelet", "mode")}
    params["axis"] = data.draw(st.integers(-2, 1))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    length, lines = data.draw(st.integers(1, 2500)), data.draw(st.integers(0, 20))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = (length, lines) if params["axis"] in (0, -2) else (lines, length)
    x = generator.standard_normal(shape).astype(dtype)
    if data.draw(st.booleans()):
        params["level"] = data.draw(st.integers(0, 5))
    tolerance = TOLERANCE[dtype] * (10 if params["mode"] in EXTRAPOLATING else 1)
    engines.check_agreement("wavelet", {"x": x}, params, tolerance)

    denoise = params | {"method": "denoise", "threshold_mode": data.draw(st.sampled_from(CHOICES["threshold_mode"]))}
    if data.draw(st.booleans()):
        denoise["threshold"] = data.draw(st.floats(0, 3))
    engines.check_agreement("wavelet", {"x": x}, denoise, 10 * tolerance)

    coefficients = engines.python("wavelet", {"x": x}, params)
    if not isinstance(coefficients, str):
        params.pop("level", None)
        back = params | {"method": "reconstruct"}
        engines.check_agreement("wavelet", coefficients, back, 10 * tolerance)
