"""One picture per operation: what it does to a recording, computed by a fleet and drawn by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from npufleet import Fleet

SIZE = (7.2, 2.6)
BEFORE, AFTER, OTHER = "#b8bcc4", "#1f4e9c", "#c4452f"


def fft(fleet: Fleet, figure: Figure) -> None:
    years, warmth = records.el_nino()
    spectrum = np.abs(fleet.fft(warmth - warmth.mean(), norm="forward"))
    cycles = np.fft.rfftfreq(len(years), 1 / records.QUARTERS)
    axes = _axes(figure, "El Niño: how strong each rhythm of the sea's warmth is", "cycles a year", "kelvin")
    axes.plot(cycles, spectrum, color=AFTER, linewidth=1)


def ifft(fleet: Fleet, figure: Figure) -> None:
    years, warmth = records.el_nino()
    spectrum = fleet.fft(warmth).copy()
    # Up to half a cycle a year.
    spectrum[np.fft.rfftfreq(len(years), 1 / records.QUARTERS) > 0.5] = 0
    slow = fleet.ifft(spectrum, n=len(years), input_onesided=True)
    axes = _axes(figure, "El Niño: only what takes two years and more", "year", "kelvin")
    axes.plot(years, warmth, color=BEFORE, linewidth=1)
    axes.plot(years, slow.real, color=AFTER, linewidth=1.5)


def stft(fleet: Fleet, figure: Figure) -> None:
    found = fleet.stft(records.pulse(), fs=records.PULSE_HZ, nperseg=400, noverlap=360)
    axes = _axes(figure, "Pulse: its rhythm and overtones, as time goes on", "s", "Hz")
    low = found["f"] < 8
    axes.pcolormesh(found["t"], found["f"][low], np.abs(found["Zxx"])[low], cmap="Blues", rasterized=True)


def spectral(fleet: Fleet, figure: Figure) -> None:
    pulse, rate = records.pulse(), records.PULSE_HZ
    axes = _axes(figure, "Pulse: power density, of the whole and averaged by Welch", "Hz", "units² / Hz")
    for method, color in (("periodogram", BEFORE), ("welch", AFTER)):
        more: dict[str, Any] = {"nperseg": 800} if method == "welch" else {}
        found = fleet.spectral(pulse, method=method, fs=rate, **more)
        band = (found["f"] > 0.2) & (found["f"] < 8)
        axes.semilogy(found["f"][band], found["Pxx"][band], color=color, linewidth=1)


def window(fleet: Fleet, figure: Figure) -> None:
    axes = _axes(figure, "Windows of 128 samples", "sample", "")
    for name, color in (("hann", AFTER), ("blackman", OTHER), ("bartlett", BEFORE), ("flattop", "#4a7c3a")):
        axes.plot(fleet.window(n=128, window=name), color=color, linewidth=1.2, label=name)
    axes.legend(frameon=False, fontsize=7)


def filter(fleet: Fleet, figure: Figure) -> None:
    ecg, rate = records.ecg(), records.ECG_HZ
    axes = _axes(figure, "Electrocardiogram: band of 1 to 30 Hz, causal and with zero phase", "s", "units")
    causal = fleet.filter(ecg, cutoff=[1.0, 30.0], btype="bandpass", order=2, fs=rate)["y"]
    whole = fleet.filter(ecg, cutoff=[1.0, 30.0], btype="bandpass", order=2, fs=rate, zero_phase=True)["y"]
    seconds = np.arange(len(ecg)) / rate
    axes.plot(seconds, ecg - ecg.mean(), color=BEFORE, linewidth=1, label="recorded")
    axes.plot(seconds, causal, color=OTHER, linewidth=1, label="causal")
    axes.plot(seconds, whole, color=AFTER, linewidth=1.2, label="zero phase")
    axes.legend(frameon=False, fontsize=7)


def resample(fleet: Fleet, figure: Figure) -> None:
    pulse = records.pulse()[:400]
    few = fleet.resample(pulse, num=40)
    axes = _axes(figure, "Pulse: 100 samples a second, and 10", "s", "units")
    axes.plot(np.arange(400) / 100, pulse, color=BEFORE, linewidth=1)
    axes.plot(np.arange(40) / 10, few, ".-", color=AFTER, linewidth=1, markersize=4)


def wavelet(fleet: Fleet, figure: Figure) -> None:
    ecg = records.ecg()
    seconds = np.arange(len(ecg)) / records.ECG_HZ
    calm = fleet.wavelet(ecg, method="denoise", wavelet="sym4", level=4)["y"]
    axes = _axes(figure, "Electrocardiogram: denoised, and its details", "s", "units")
    axes.plot(seconds, ecg, color=BEFORE, linewidth=1)
    axes.plot(seconds, calm, color=AFTER, linewidth=1)
    found = fleet.wavelet(ecg, wavelet="sym4", level=4)
    for level in range(1, 5):
        details = found[f"cD{level}"]
        place = np.linspace(seconds[0], seconds[-1], len(details))
        axes.plot(place, details / 4 - 110 - 40 * level, color=OTHER, linewidth=0.6)


def kalman(fleet: Fleet, figure: Figure) -> None:
    years, warmth = records.el_nino()
    noise = {"process_variance": 0.1, "measurement_variance": 0.8}
    axes = _axes(figure, "El Niño: a random walk under the seasons, filtered and smoothed", "year", "kelvin")
    axes.plot(years, warmth, color=BEFORE, linewidth=1)
    axes.plot(years, fleet.kalman(warmth, **noise)["x"], color=OTHER, linewidth=1, label="filtered")
    axes.plot(years, fleet.kalman(warmth, **noise, smooth=True)["x"], color=AFTER, linewidth=1.5, label="smoothed")
    axes.legend(frameon=False, fontsize=7)


def adaptive(fleet: Fleet, figure: Figure) -> None:
    pulse = records.pulse() / records.pulse().std()
    known, wanted = pulse[:-1], pulse[1:]
    axes = _axes(figure, "Pulse: error of the next sample, foretold from the last 16", "s", "")
    seconds = np.arange(len(wanted)) / records.PULSE_HZ
    axes.plot(seconds, wanted, color=BEFORE, linewidth=1, label="pulse")
    for method, color in (("nlms", OTHER), ("rls", AFTER)):
        error = fleet.adaptive(known, wanted, method=method, order=16)["e"]
        axes.plot(seconds, error, color=color, linewidth=1, label=method)
    axes.legend(frameon=False, fontsize=7)


def pipeline(fleet: Fleet, figure: Figure) -> None:
    photograph = records.photograph()
    # A picture's rows and then its columns, in one request each way.
    along = {"operation": "wavelet", "params": {"wavelet": "haar", "level": 1, "axis": -1}}
    across = {"operation": "wavelet", "params": {"wavelet": "haar", "level": 1, "axis": 0}, "inputs": {"x": "cA1"}}
    again = {**along, "inputs": {"x": "cA1"}}
    small = fleet.pipeline(photograph, steps=[along, across, again, across])["cA1"]
    edges = fleet.pipeline(photograph, steps=[along, {**across, "inputs": {"x": "cD1"}}])["cA1"]
    pictures = ((photograph, "recorded"), (small, "a quarter each way"), (np.abs(edges), "upright edges"))
    for index, (picture, title) in enumerate(pictures):
        axes = figure.add_subplot(1, 3, index + 1, title=title)
        axes.imshow(picture, cmap="gray" if index < 2 else "gray_r", interpolation="nearest")
        axes.set_axis_off()


PICTURES: dict[str, Callable[[Fleet, Figure], None]] = {
    each.__name__: each
    for each in (fft, ifft, stft, spectral, window, filter, resample, wavelet, kalman, adaptive, pipeline)
}
"""What draws the picture of each operation, by its name."""


def _axes(figure: Figure, title: str, x: str, y: str) -> Any:
    axes = figure.add_subplot(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
