"""The Python engine: each operation as one function over arrays, in a file of its own name.

    adaptive  LMS, NLMS and RLS, by NumPy
    echo      the tensors unchanged
    fft       discrete Fourier transform, by SciPy
    filter    Butterworth and Chebyshev I filters, by SciPy
    ifft      the inverse of fft, by SciPy
    kalman    Kalman filter and smoother, by NumPy
    pipeline  operations one after the other
    resample  another sampling rate, by SciPy
    spectral  power spectra, cross spectra and coherence, by SciPy
    stft      short-time Fourier transform, by SciPy
    wavelet   multilevel discrete wavelet transform and denoising, by PyWavelets
    window    window functions, by SciPy

`progress` is how an operation says how far it is.

The workers run `infer` themselves, since it needs models. A file here has `rows` and `execute`, and the same stem
as its twin in workers-rs/crates/operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import UnknownOperationError
from npufleet.operations import (
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
from npufleet.wire import contract
from npufleet.wire import dtype as dtypes
from npufleet.wire.rules.common import Params

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensors = dict[str, "NDArray[Any]"]
Execute = Callable[[Mapping[str, "NDArray[Any]"], Params, Callable[[], bool]], Tensors]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of this engine: `rows` counts a request's work for the statistics, `execute` does it.

    `example` are parameters of the smallest request, where the least that their rows allow will not do.
    """

    rows: Callable[[Mapping[str, NDArray[Any]], Params], int]
    execute: Execute
    example: dict[str, Any] = field(default_factory=dict)


REGISTRY: Final[dict[str, Operation]] = {
    "adaptive": Operation(adaptive.rows, adaptive.execute),
    "echo": Operation(echo.rows, echo.execute),
    "fft": Operation(fft.rows, fft.execute),
    "filter": Operation(filter.rows, filter.execute, example={"cutoff": 0.5}),
    "ifft": Operation(ifft.rows, ifft.execute),
    "kalman": Operation(kalman.rows, kalman.execute),
    "pipeline": Operation(pipeline.rows, pipeline.execute, example={"steps": [{"operation": "echo"}]}),
    "resample": Operation(resample.rows, resample.execute),
    "spectral": Operation(spectral.rows, spectral.execute),
    "stft": Operation(stft.rows, stft.execute),
    "wavelet": Operation(wavelet.rows, wavelet.execute),
    "window": Operation(window.rows, window.execute),
}
"""Every operation of this engine by name."""


def check(name: str, tensors: Mapping[str, NDArray[Any]], params: Mapping[str, object]) -> dict[str, Any]:
    """Check a request against the contract and return its parameters with defaults filled in.

    Raises `UnknownOperationError`, `InvalidParameterError` or `InvalidShapeError`.
    """
    row = contract.operation(name)
    described = {}
    for tensor, array in tensors.items():
        found = dtypes.of(array.dtype)
        described[tensor] = (array.dtype.name if found is None else found.word, array.shape)
    return row.check(described, params)


def execute(
    name: str,
    tensors: Mapping[str, NDArray[Any]],
    params: Mapping[str, object],
    stop: Callable[[], bool] = lambda: False,
) -> Tensors:
    """Check and execute one request; `stop` turns true when the caller no longer wants the answer.

    Raises as `check` does, and `CallCancelledError` when `stop` ended the work.
    """
    operation = REGISTRY.get(name)
    if operation is None:
        raise UnknownOperationError(f"unknown operation '{name}'; allowed: {', '.join(REGISTRY)}")
    return operation.execute(tensors, check(name, tensors, params), stop)
