"""Golden numbers: requests to each operation with the answers that SciPy and PyWavelets give, and those to refuse.

One module per operation, named like it, with `cases()`. Nothing here comes from npufleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numbers_source import (
    adaptive,
    echo,
    fft,
    filter,
    ifft,
    kalman,
    pipeline,
    resample,
    spectral,
    stft,
    wavelet,
    window,
)

if TYPE_CHECKING:
    from types import ModuleType

SOURCES: dict[str, ModuleType] = {
    "adaptive": adaptive,
    "echo": echo,
    "fft": fft,
    "filter": filter,
    "ifft": ifft,
    "kalman": kalman,
    "pipeline": pipeline,
    "resample": resample,
    "spectral": spectral,
    "stft": stft,
    "wavelet": wavelet,
    "window": window,
}


def operations() -> dict[str, list[dict[str, Any]]]:
    return {name: source.cases() for name, source in SOURCES.items()}
