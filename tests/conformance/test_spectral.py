"""`spectral`: both engines estimate alike."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import engines
from tests.support.strategies import segments, signals, some

DTYPES = ("float32", "float64", "complex64", "complex128")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_engines_agree(data: st.DataObject) -> None:
    engines.native()
    x, axis = data.draw(signals(DTYPES, 60))
    method = data.draw(st.sampled_from(["periodogram", "welch", "spectrogram", "csd", "coherence"]))
    params = {"method": method, "axis": axis, **data.draw(segments(x.shape[axis], is_complex=x.dtype.kind == "c"))}
    params |= some(data.draw, scaling=st.sampled_from(["density", "spectrum"]))
    if method in ("welch", "csd"):
        params |= some(data.draw, average=st.sampled_from(["mean", "median"]))
    if method == "periodogram":
        params = {name: value for name, value in params.items() if name not in ("nperseg", "noverlap")}
    if method == "coherence" or x.shape[axis] < 3:
        # A power that rounding alone makes is no number to compare, nor to divide by.
        params["detrend"] = "none"
    tensors = {"x": x}
    if method in ("csd", "coherence"):
        generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        tensors["y"] = (x + generator.standard_normal(x.shape)).astype(x.dtype)
    tolerance = 1e-4 if x.dtype.name in ("float32", "complex64") else 1e-10
    engines.check_agreement("spectral", tensors, params, tolerance)
