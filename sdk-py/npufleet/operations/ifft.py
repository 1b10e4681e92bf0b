"""`ifft`: inverse discrete Fourier transform along one axis, by SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npufleet.operations.shared.lines import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

__all__ = ["execute", "rows"]


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return samples `y` of spectrum `x`, transformed along `axis`, in the precision of `x`.

    `y` is shaped as `x` but for the axis, which has `n` samples; it is real if `input_onesided`, else complex.
    """
    # Importing SciPy takes longer than a whole request; only a worker that transforms pays for it.
    from scipy import fft  # type: ignore[import-untyped]

    transform = fft.irfft if params["input_onesided"] else fft.ifft
    return {"y": transform(tensors["x"], n=params.get("n"), axis=params["axis"], norm=params["norm"])}
