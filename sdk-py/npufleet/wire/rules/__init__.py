"""What a single operation demands beyond its row: rules between its tensors and its parameters, a file each.

Checked twice with the same words: before a request is sent, and by the engine that executes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from npufleet.wire.rules import adaptive, fft, filter, ifft, kalman, pipeline, resample, spectral, stft, wavelet, window

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Rule

RULES: Final[dict[str, Rule]] = {
    "adaptive": adaptive.check,
    "fft": fft.check,
    "filter": filter.check,
    "ifft": ifft.check,
    "kalman": kalman.check,
    "pipeline": pipeline.check,
    "resample": resample.check,
    "spectral": spectral.check,
    "stft": stft.check,
    "wavelet": wavelet.check,
    "window": window.check,
}
"""The rule of each operation that has one."""
