"""Hypothesis strategies for what operations take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

if TYPE_CHECKING:
    from numpy.typing import NDArray


@st.composite
def signals(draw: st.DrawFn, dtypes: tuple[str, ...], longest: int) -> tuple[NDArray[Any], int]:
    """Noise of unit scale with up to two dimensions beside the axis, and that axis."""
    length = draw(st.integers(1, longest))
    beside = draw(st.lists(st.integers(1, 3), max_size=2))
    axis = draw(st.integers(0, len(beside)))
    shape = (*beside[:axis], length, *beside[axis:])
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(dtypes))
    samples = generator.standard_normal(shape)
    if dtype.startswith("complex"):
        samples = samples + 1j * generator.standard_normal(shape)
    return samples.astype(dtype), draw(st.sampled_from([axis, axis - len(shape)]))


def some(draw: st.DrawFn, **parameters: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Each of these parameters, or not."""
    return {name: draw(values) for name, values in parameters.items() if draw(st.booleans())}


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """The parameters of a window, mostly valid; SciPy's tukey with next to no taper is all rounding."""
    plain = ["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "triang"]
    shaped = st.one_of(
        st.builds(lambda beta: {"window": "kaiser", "beta": beta}, st.floats(0, 100)),
        st.builds(lambda std: {"window": "gaussian", "std": std}, st.floats(0.5, 50)),
        st.builds(lambda alpha: {"window": "tukey", "alpha": alpha}, st.floats(0.001, 1)),
        st.sampled_from([{}, {"window": "tukey"}, {"window": "kaiser"}, {"window": "hann", "beta": 1.0}]),
    )
    return draw(st.one_of(st.builds(lambda name: {"window": name}, st.sampled_from([*plain, "cosine"])), shaped))


@st.composite
def segments(draw: st.DrawFn, samples: int, *, is_complex: bool) -> dict[str, Any]:
    """The parameters of windowed segments of lines of so many samples, mostly valid."""
    nperseg = draw(st.integers(1, samples + 1))
    params = {"nperseg": nperseg, **draw(windows())} | some(
        draw,
        noverlap=st.integers(0, max(nperseg - 1, 0)),
        nfft=st.integers(nperseg, 2 * nperseg + 1),
        detrend=st.sampled_from(["none", "constant", "linear"] if nperseg > 2 else ["none"]),
        fs=st.floats(0.01, 1e5),
    )
    if not is_complex:
        params |= some(draw, return_onesided=st.booleans())
    return params
