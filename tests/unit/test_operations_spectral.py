"""`spectral`, `stft` and `resample` on the Python engine; the numbers themselves are in the golden vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from npufleet import operations
from npufleet.errors import InvalidParameterError, InvalidShapeError, UnsupportedError

X = np.sin(np.arange(64.0))


def test_more_segments_than_scipy_should_be_given_at_once() -> None:
    params = {"nperseg": 1, "nfft": 2**24}
    with pytest.raises(UnsupportedError, match="64 segments of 16777216 points"):
        operations.execute("spectral", {"x": X}, params)


@pytest.mark.parametrize(
    ("operation", "params", "told"),
    [
        ("stft", {"nperseg": 65}, "'nperseg' is 65; allowed: 1 to 64"),
        ("stft", {"nperseg": 8, "noverlap": 8}, "'noverlap' is 8; allowed: 0 to 7"),
        ("spectral", {"nperseg": 8, "nfft": 7}, "'nfft' is 7; allowed: at least 8"),
        ("spectral", {"method": "periodogram", "nperseg": 8}, "'nperseg' is 8; allowed: not with method periodogram"),
        (
            "spectral",
            {"method": "spectrogram", "average": "mean"},
            "'average' is 'mean'; allowed: with method welch or",
        ),
        ("spectral", {"window": "kaiser"}, "'beta' is missing; allowed: a number with window kaiser"),
        ("resample", {"method": "polyphase", "num": 9}, "'num' is 9; allowed: with method fourier only"),
        ("resample", {"std": 2.0}, "'std' is 2.0; allowed: only with window gaussian"),
    ],
)
def test_a_refusal_names_the_parameter_its_value_and_what_is_allowed(
    operation: str, params: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidParameterError, match=f"parameter {told}"):
        operations.execute(operation, {"x": X}, params)


def test_a_pair_must_be_alike() -> None:
    with pytest.raises(
        InvalidShapeError, match=r"tensor 'y' is float64 of shape \(63,\); allowed: float64 of shape \(64,\)"
    ):
        operations.execute("spectral", {"x": X, "y": X[1:]}, {"method": "csd"})


@pytest.mark.parametrize("operation", ["ifft", "resample", "spectral", "stft"])
def test_the_input_is_left_as_it_was(operation: str) -> None:
    x = X.copy()
    x.flags.writeable = False
    operations.execute(operation, {"x": x}, {})
    np.testing.assert_array_equal(x, X)
    assert operations.REGISTRY[operation].rows({"x": np.zeros((2, 3, 4))}, {"axis": 1}) == 8
