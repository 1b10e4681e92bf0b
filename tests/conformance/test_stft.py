"""`stft`: both engines transform alike."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import engines
from tests.support.strategies import segments, signals, some

DTYPES = ("float32", "float64", "complex64", "complex128")


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_engines_agree(data: st.DataObject) -> None:
    engines.native()
    x, axis = data.draw(signals(DTYPES, 60))
    params = data.draw(segments(x.shape[axis], is_complex=x.dtype.kind == "c")) | some(
        data.draw,
        boundary=st.sampled_from(["zeros", "even", "odd", "constant", "none"]),
        padded=st.booleans(),
        scaling=st.sampled_from(["spectrum", "psd"]),
    )
    tolerance = 1e-5 if x.dtype.name in ("float32", "complex64") else 1e-11
    engines.check_agreement("stft", {"x": x}, {"axis": axis, **params}, tolerance)
