"""A real pulse recording through `fft`: 24.8 seconds of a finger sensor at 100 Hz, shipped with the package heartpy."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from npufleet.demo.sample import package_file

if TYPE_CHECKING:
    from npufleet import Fleet

SAMPLE_RATE_HZ = 100.0
PULSE_BAND_HZ = (0.7, 3.5)  # 42 to 210 beats a minute


def recording() -> NDArray[np.float64]:
    """Read the recording: shape [2483], float64, in units of the sensor."""
    return np.loadtxt(package_file("heartpy", "data/data.csv"), dtype=np.float64)


def heart_rate_bpm(fleet: "Fleet", pulse: NDArray[np.float64]) -> float:
    """Find the strongest rhythm of the pulse band, in beats a minute.

    The mean is taken off first, since a constant would hide everything else in the lowest bins.
    """
    spectrum = np.abs(fleet.fft(pulse - pulse.mean()))
    frequencies_hz = np.fft.rfftfreq(pulse.size, 1 / SAMPLE_RATE_HZ)
    low, high = PULSE_BAND_HZ
    candidates = np.flatnonzero((frequencies_hz >= low) & (frequencies_hz <= high))
    strongest = candidates[spectrum[candidates].argmax()]
    return float(60 * frequencies_hz[strongest])
