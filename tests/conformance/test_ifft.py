"""`ifft`: both engines transform back alike."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import engines
from tests.support.strategies import signals, some

DTYPES = ("float32", "float64", "complex64", "complex128")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_engines_agree(data: st.DataObject) -> None:
    engines.native()
    x, axis = data.draw(signals(DTYPES, 60))
    params = some(
        data.draw,
        n=st.integers(1, 70),
        norm=st.sampled_from(["backward", "ortho", "forward"]),
        input_onesided=st.booleans(),
    )
    tolerance = 2e-6 if x.dtype.name in ("float32", "complex64") else 1e-13
    engines.check_agreement("ifft", {"x": x}, {"axis": axis, **params}, tolerance)
