"""`fft`: discrete Fourier transform along one axis, by SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npufleet.operations.shared.lines import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params


__all__ = ["execute", "rows"]


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return spectrum `y` of samples `x`, transformed along `axis`.

    `y` is complex64 for float16, float32 and complex64 samples and complex128 otherwise, shaped as `x` but for the
    axis: `n` bins two-sided, `n // 2 + 1` one-sided.
    """
    # Importing SciPy takes longer than a whole request; only a worker that transforms pays for it.
    from scipy import fft  # type: ignore[import-untyped]

    x = tensors["x"]
    one_sided = params.get("return_onesided", x.dtype.kind != "c")
    transform = fft.rfft if one_sided else fft.fft
    return {"y": transform(x, n=params.get("n"), axis=params["axis"], norm=params["norm"])}
