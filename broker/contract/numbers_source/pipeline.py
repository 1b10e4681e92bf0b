"""Cases of `pipeline`: what SciPy and PyWavelets give when they are called one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pywt
from frames_source import frame
from scipy import fft as scipy_fft

from numbers_source.common import answer, refused, samples

Json = dict[str, Any]


def cases() -> list[Json]:
    return [*answers(), *refusals()]


def answers() -> list[Json]:
    x = samples((3, 40))
    fft = {"operation": "fft"}
    spectrum = scipy_fft.rfft(x)
    coefficients = pywt.wavedec(x, "haar", level=2)
    named = dict(zip(("cA2", "cD2", "cD1"), coefficients, strict=True))
    decompose = {"operation": "wavelet", "params": {"wavelet": "haar", "level": 2}}
    back = {"operation": "wavelet", "params": {"wavelet": "haar", "method": "reconstruct"}}
    echo = {"operation": "echo"}
    found = []

    def case(name: str, steps: list[Json], y: Any, arrays: Any = None, tolerance: float = 1e-12) -> None:
        expected = y if isinstance(y, dict) else {"y": y}
        found.append(answer(name, {"x": x} if arrays is None else arrays, {"steps": steps}, expected, tolerance))

    case("one step", [fft], spectrum)
    across = {"operation": "fft", "params": {"axis": 0, "norm": "ortho"}}
    case("one step with params", [across], scipy_fft.rfft(x, axis=0, norm="ortho"))
    case("an echo in front", [echo, fft], spectrum)
    case("an echo behind", [fft, echo], spectrum)
    case("two transforms", [fft, fft], scipy_fft.fft(spectrum))
    case("all tensors go on by their names", [decompose, back], x)
    case("chosen tensors", [decompose, {**fft, "inputs": {"x": "cD1"}}], scipy_fft.rfft(coefficients[2]))
    # The levels below those that are taken are left out.
    some = {**back, "inputs": {"cA1": "cA2", "cD1": "cD2"}}
    case("some tensors by other names", [decompose, some], pywt.idwt(*coefficients[:2], "haar"))
    case("a renamed echo", [{**echo, "inputs": {"a": "x", "b": "x"}}], {"a": x, "b": x}, tolerance=0.0)
    case("an echo of one of two", [decompose, {**echo, "inputs": {"z": "cD2"}}], {"z": named["cD2"]})
    both = {"x": x, "cD1": samples((3, 20), seed=3)}
    first = {**decompose, "params": {"wavelet": "haar", "level": 1}, "inputs": {"x": "x"}}
    mixed = {**back, "inputs": {"cA1": "cA1"}, "request_inputs": {"cD1": "cD1"}}
    joined = pywt.idwt(pywt.dwt(x, "haar")[0], both["cD1"], "haar")
    case("a tensor of the request for a later step", [first, mixed], joined, both)
    case("floats", [echo, fft], spectrum.astype(np.complex64), {"x": x.astype(np.float32)}, 2e-6)
    case("no steps but echoes", [echo] * 16, {"x": x}, tolerance=0.0)
    return found


def refusals() -> list[Json]:
    x = {"x": samples(16)}
    fft, echo = {"operation": "fft"}, {"operation": "echo"}
    wavelet = {"operation": "wavelet"}
    parameters: dict[str, Any] = {
        "steps missing": {},
        "steps no list": {"steps": fft},
        "steps a text": {"steps": "fft"},
        "steps null": {"steps": None},
        "no step": {"steps": []},
        "17 steps": {"steps": [echo] * 17},
        "a step that is no object": {"steps": ["fft"]},
        "a step without an operation": {"steps": [{"params": {}}]},
        "an operation that is no text": {"steps": [{"operation": 1}]},
        "an unknown operation": {"steps": [echo, {"operation": "fourier"}]},
        "a pipeline in a pipeline": {"steps": [{"operation": "pipeline", "params": {"steps": [echo]}}]},
        "an unknown key": {"steps": [{**fft, "parameters": {}}]},
        "params no object": {"steps": [{**fft, "params": []}]},
        "params null": {"steps": [{**fft, "params": None}]},
        "an unknown parameter of a step": {"steps": [echo, {**fft, "params": {"m": 1}}]},
        "a wrong parameter of a step": {"steps": [echo, {**fft, "params": {"norm": "none"}}]},
        "a wrong parameter of the first step": {"steps": [{**fft, "params": {"axis": 1}}]},
        "a model where none is": {"steps": [{**fft, "model": "mlp"}]},
        "no model where one is": {"steps": [{"operation": "infer"}]},
        "a model's name that is none": {"steps": [{"operation": "infer", "model": "M L P"}]},
        "inputs no object": {"steps": [{**fft, "inputs": ["x"]}]},
        "inputs of no text": {"steps": [{**fft, "inputs": {"x": 1}}]},
        "request_inputs no object": {"steps": [{**fft, "request_inputs": "x"}]},
        "another parameter": {"steps": [fft], "n": 1},
    }
    shapes: dict[str, Any] = {
        "a tensor that the request lacks": [{**fft, "inputs": {"x": "z"}}],
        "a tensor that the step before does not give": [wavelet, {**fft, "inputs": {"x": "z"}}],
        "a tensor of the request that is not there": [echo, {**fft, "inputs": {}, "request_inputs": {"x": "z"}}],
        "a tensor given twice": [echo, {**fft, "inputs": {"x": "x"}, "request_inputs": {"x": "x"}}],
        "an input that the operation lacks": [{**fft, "inputs": {"z": "x"}}],
        "none of its inputs": [{**fft, "inputs": {}}],
        "a dtype that the second step does not take": [fft, {"operation": "wavelet"}],
        "which of two that always come": [{"operation": "spectral"}, fft],
        "which of several tensors": [{**wavelet, "params": {"wavelet": "haar"}}, fft],
    }
    cases = [refused(name, frame(x, params), "invalid_parameter") for name, params in parameters.items()]
    cases += [refused(name, frame(x, {"steps": steps}), "invalid_shape") for name, steps in shapes.items()]
    cases.append(refused("the request's own rules", frame({"x": np.zeros(0)}, {"steps": [fft]}), "invalid_shape"))
    cases.append(refused("a truncated frame", frame(x, {"steps": [fft]})[:-1], "invalid_frame"))
    model = {"operation": "infer", "model": "nowhere"}
    cases.append(refused("a model without a worker", frame(x, {"steps": [model]}), "unsupported"))
    return cases
