"""`window`: both engines weigh alike."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import engines
from tests.support.strategies import windows


@settings(max_examples=60, deadline=None)
@given(window=windows(), n=st.integers(1, 300), fftbins=st.sampled_from([{}, {"fftbins": True}, {"fftbins": False}]))
def test_engines_agree(window: dict[str, Any], n: int, fftbins: dict[str, bool]) -> None:
    engines.native()
    engines.check_agreement("window", {}, {"n": n, **window, **fftbins}, 1e-13)
