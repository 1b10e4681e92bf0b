"""The former system's six signal operations: what they become gives SciPy's and PyWavelets' numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from npufleet import InvalidParameterError, UnknownOperationError, operations
from npufleet.legacy.signal import translate

X = np.random.default_rng(5).standard_normal(1000)
RATE = 360.0


def run(operation: str, parameters: dict[str, Any], x: Any = X) -> dict[str, Any]:
    request = translate(operation, len(x), parameters)
    return operations.execute(request.operation, dict.fromkeys(request.tensors, x), request.params)


def close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_fft_is_the_spectrum() -> None:
    close(run("fft", {})["y"], scipy.fft.rfft(X))


def test_fft_with_a_window_is_one_windowed_segment() -> None:
    window = scipy.signal.get_window("hann", len(X))
    close(run("fft", {"window": "hann"})["Zxx"][..., 0], scipy.fft.rfft(X * window) / window.sum())


def test_fft_with_an_overlap_is_a_spectrum_for_each_segment() -> None:
    _, _, spectra = scipy.signal.stft(X, nperseg=256, noverlap=128, boundary=None, padded=False)
    close(run("fft", {"window": "hann", "overlap": 0.5})["Zxx"], spectra)


@pytest.mark.parametrize(("kind", "design"), [("butterworth", {}), ("chebyshev", {"rp": 0.5, "ftype": "cheby1"})])
def test_filter_is_a_causal_lowpass(kind: str, design: dict[str, Any]) -> None:
    sections = scipy.signal.iirfilter(3, 40.0, fs=RATE, btype="lowpass", output="sos", **{"ftype": "butter", **design})
    parameters = {"type": kind, "order": 3, "cutoff_freq": 40.0, "sample_rate": RATE}
    close(run("filter", parameters)["y"], scipy.signal.sosfilt(sections, X))


def test_kalman_is_a_scalar_random_walk() -> None:
    mean, variance, expected = X[0], 1.0, []
    for z in X:
        variance += 1e-3
        gain = variance / (variance + 0.1)
        mean, variance = mean + gain * (z - mean), (1 - gain) * variance
        expected.append(mean)
    close(run("kalman", {"process_noise": 1e-3, "measurement_noise": 0.1})["x"], expected)


def test_wavelet_decomposes_into_levels() -> None:
    names = ("cA3", "cD3", "cD2", "cD1")
    found = run("wavelet", {"type": "db4", "levels": 3})
    for name, expected in zip(names, pywt.wavedec(X, "db4", level=3), strict=True):
        close(found[name], expected)


def test_spectral_is_welch_or_a_periodogram() -> None:
    close(
        run("spectral", {"method": "welch", "window_size": 128, "overlap_percent": 25})["Pxx"],
        scipy.signal.welch(X, nperseg=128, noverlap=32)[1],
    )
    close(run("spectral", {"method": "periodogram"})["Pxx"], scipy.signal.periodogram(X)[1])


def test_adaptive_predicts_the_signal_by_lms() -> None:
    weights, line, errors = np.zeros(4), np.zeros(4), []
    for x in X:
        line = np.concatenate(([x], line[:-1]))
        errors.append(x - weights @ line)
        weights = weights + 0.02 * errors[-1] * line
    close(run("adaptive", {"algorithm": "lms", "step_size": 0.02, "filter_length": 4})["e"], errors)


def test_defaults_stay_within_short_signals() -> None:
    for operation, parameters in [("fft", {"overlap": 0.5}), ("spectral", {}), ("kalman", {}), ("wavelet", {})]:
        assert run(operation, parameters, X[:20])


@pytest.mark.parametrize(
    ("operation", "parameters", "named"),
    [
        ("fft", {"overlap": 1.0}, "overlap"),
        ("fft", {"size": 4}, "size"),
        ("filter", {"type": "bessel", "cutoff_freq": 1.0}, "type"),
        ("filter", {}, "cutoff_freq"),
        ("spectral", {"method": "burg"}, "method"),
        ("spectral", {"window_size": 2000}, "window_size"),
        ("adaptive", {"algorithm": "rls"}, "algorithm"),
    ],
)
def test_what_it_never_had_is_refused_by_name(operation: str, parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParameterError, match=named):
        translate(operation, 1000, parameters)


@given(st.text())
def test_other_operations_are_refused(name: str) -> None:
    if name not in {"fft", "filter", "kalman", "wavelet", "spectral", "adaptive"}:
        with pytest.raises(UnknownOperationError, match="allowed"):
            translate(name, 10)
