"""The wavelets' filters for the engine that has no PyWavelets, as JSON."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pywt

CONTRACT = Path(__file__).resolve().parent / "contract.toml"


def names() -> list[str]:
    """The wavelets that the contract lists."""
    parameters = tomllib.loads(CONTRACT.read_text("utf-8"))["operations"]["wavelet"]["parameters"]
    return next(list(row["choices"]) for row in parameters if row["name"] == "wavelet")


def filters() -> str:
    """The low-pass decomposition filter of each wavelet, a line each.

    The other three follow from it, which is what makes a wavelet orthogonal: a high-pass filter is the low-pass one
    backwards with every other sign turned, and reconstruction's filters are those of decomposition backwards.
    """
    lines = []
    for name in names():
        low, high, low_back, high_back = map(np.array, pywt.Wavelet(name).filter_bank)
        signs = np.where(np.arange(len(low)) % 2, 1.0, -1.0)
        follows = [(high, signs * low[::-1]), (low_back, low[::-1]), (high_back, high[::-1])]
        if not all(np.array_equal(actual, derived) for actual, derived in follows):
            raise ValueError(f"wavelet {name} is not orthogonal; the Rust engine cannot do it")
        lines.append(f' "{name}": {json.dumps(low.tolist())}')
    return "{\n" + ",\n".join(lines) + "\n}\n"
