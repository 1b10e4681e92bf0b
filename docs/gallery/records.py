"""The recordings of the gallery: they ship with PyWavelets and heartpy, so that nothing is downloaded."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
import pywt.data
from numpy.typing import NDArray

ECG_HZ = 360.0
PULSE_HZ = 100.0
QUARTERS = 4.0

Array = NDArray[Any]


def ecg() -> Array:
    """1024 samples of an electrocardiogram in the recorder's units; about three beats, taken to be at 360 Hz."""
    return np.asarray(pywt.data.ecg(), np.float64)


def pulse() -> Array:
    """24.8 seconds of a finger's pulse at 100 Hz, in the sensor's units, without its mean."""
    with files("heartpy").joinpath("data/data.csv").open() as lines:
        samples = np.loadtxt(lines)
    return samples - samples.mean()


def el_nino() -> tuple[Array, Array]:
    """The years, four times each since 1950, and the temperature of the El Nino 3 region's sea less its mean, in K."""
    years, warmth = pywt.data.nino()
    return np.asarray(years, np.float64), np.asarray(warmth, np.float64)


def photograph() -> Array:
    """256 x 256 pixels of a cameraman, 0 to 255: every second one, so that it fits into a message."""
    return np.asarray(pywt.data.camera()[::2, ::2], np.float64)
