"""`pipeline`: both engines go the same way through the same steps, and refuse the same ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import engines

NAMES = st.sampled_from(["x", "y", "z", "cA1", "cD1", "cA2", ""])
PARAMS = st.sampled_from(
    [
        {},
        {"axis": 0},
        {"axis": 5},
        {"wavelet": "haar", "level": 1},
        {"wavelet": "haar", "method": "reconstruct"},
        {"method": "denoise", "wavelet": "haar"},
        {"delay": 0},
        {"nonsense": 1},
    ]
)
STEP = st.fixed_dictionaries(
    {"operation": st.sampled_from(["echo", "fft", "wavelet", "wavelet", "window", "infer", "pipeline", "nothing"])},
    optional={
        "params": PARAMS,
        "inputs": st.dictionaries(NAMES, NAMES, max_size=2),
        "request_inputs": st.dictionaries(NAMES, NAMES, max_size=1),
        "model": st.sampled_from(["m", "M!", ""]),
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=4))
def test_engines_agree(steps: list[object]) -> None:
    engines.native()
    x = np.random.default_rng(1).standard_normal((3, 12))
    engines.check_agreement("pipeline", {"x": x}, {"steps": steps}, 1e-10)


@settings(max_examples=60, deadline=None)
@given(steps=JSON | st.lists(JSON | st.fixed_dictionaries({"operation": st.just("echo"), "params": JSON}), max_size=3))
def test_engines_refuse_alike(steps: object) -> None:
    engines.native()
    engines.check_agreement("pipeline", {"x": np.ones(3)}, {"steps": steps}, 0.0)
