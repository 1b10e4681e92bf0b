"""`resample`: both engines give the same samples."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import engines
from tests.support.strategies import signals, some, windows

PADTYPES = ["constant", "line", "mean", "median", "maximum", "minimum", "edge", "symmetric", "reflect", "wrap"]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_engines_agree(data: st.DataObject) -> None:
    engines.native()
    x, axis = data.draw(signals(("float32", "float64"), 60))
    method = data.draw(st.sampled_from(["fourier", "polyphase"]))
    params = {"method": method, "axis": axis} | some(data.draw, up=st.integers(1, 20), down=st.integers(1, 20))
    if data.draw(st.booleans()):
        params |= data.draw(windows())
    if method == "fourier":
        params |= some(data.draw, num=st.integers(1, 90))
    else:
        params |= some(data.draw, padtype=st.sampled_from(PADTYPES))
    engines.check_agreement("resample", {"x": x}, params, 1e-5 if x.dtype == "float32" else 1e-11)
