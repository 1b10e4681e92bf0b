"""One typed method per operation. Written by broker/contract/generate.py; edit the contract instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from npufleet.result import Result

__all__ = ["AsyncOperations", "Operations"]


class AsyncOperations:
    """The operations as coroutines, for a class that has `call`."""

    __slots__ = ()

    if TYPE_CHECKING:
        call: Callable[..., Awaitable[Result]]

    async def echo(
        self,
        tensors: Mapping[str, ArrayLike],
        *,
        delay: float = 0.0,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Return the tensors unchanged, to measure and to rehearse.

        Arguments:

        - `tensors`: any arrays by name.
        - `delay`: number, 0 to 60 s, default 0. Hold the worker this long before answering, to rehearse
          deadlines and overload.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns the output arrays by name.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if delay != 0.0:
            params["delay"] = delay
        return await self.call("echo", tensors, params, timeout=timeout, lane=lane)

    async def fft(
        self,
        x: ArrayLike,
        *,
        n: int | None = None,
        axis: int = -1,
        norm: Literal["backward", "ortho", "forward"] = "backward",
        return_onesided: bool | None = None,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Discrete Fourier transform along one axis; each line along the axis is transformed on its own.

        Arguments:

        - `x`: float16, float32, float64, complex64, complex128, at least 1-d. Samples. The transformed axis
          must not be empty.
        - `n`: integer, 1 to 16777216 samples. Transform length: x is cropped or padded with zeros to it.
          Default: the axis as it is.
        - `axis`: integer, -8 to 7, default -1. Axis to transform.
        - `norm`: string, one of backward, ortho, forward, default backward. Where to scale, as in SciPy:
          backward is no scaling, ortho 1/sqrt(n), forward 1/n.
        - `return_onesided`: boolean. Give only the bins from 0 to n // 2. Default: true for real x; complex
          x has no one-sided spectrum.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Spectrum, complex64 for float16, float32 and complex64 input, complex128 otherwise; shaped
        as x but for the axis, which has n (two-sided) or n // 2 + 1 (one-sided) bins.

        The numbers are those of scipy.fft.fft and scipy.fft.rfft.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if n is not None:
            params["n"] = n
        if axis != -1:
            params["axis"] = axis
        if norm != "backward":
            params["norm"] = norm
        if return_onesided is not None:
            params["return_onesided"] = return_onesided
        return (await self.call("fft", x, params, timeout=timeout, lane=lane)).array


class Operations:
    """The operations as blocking methods, for a class that has `call`."""

    __slots__ = ()

    if TYPE_CHECKING:
        call: Callable[..., Result]

    def echo(
        self,
        tensors: Mapping[str, ArrayLike],
        *,
        delay: float = 0.0,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Return the tensors unchanged, to measure and to rehearse.

        Arguments:

        - `tensors`: any arrays by name.
        - `delay`: number, 0 to 60 s, default 0. Hold the worker this long before answering, to rehearse
          deadlines and overload.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns the output arrays by name.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if delay != 0.0:
            params["delay"] = delay
        return self.call("echo", tensors, params, timeout=timeout, lane=lane)

    def fft(
        self,
        x: ArrayLike,
        *,
        n: int | None = None,
        axis: int = -1,
        norm: Literal["backward", "ortho", "forward"] = "backward",
        return_onesided: bool | None = None,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Discrete Fourier transform along one axis; each line along the axis is transformed on its own.

        Arguments:

        - `x`: float16, float32, float64, complex64, complex128, at least 1-d. Samples. The transformed axis
          must not be empty.
        - `n`: integer, 1 to 16777216 samples. Transform length: x is cropped or padded with zeros to it.
          Default: the axis as it is.
        - `axis`: integer, -8 to 7, default -1. Axis to transform.
        - `norm`: string, one of backward, ortho, forward, default backward. Where to scale, as in SciPy:
          backward is no scaling, ortho 1/sqrt(n), forward 1/n.
        - `return_onesided`: boolean. Give only the bins from 0 to n // 2. Default: true for real x; complex
          x has no one-sided spectrum.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Spectrum, complex64 for float16, float32 and complex64 input, complex128 otherwise; shaped
        as x but for the axis, which has n (two-sided) or n // 2 + 1 (one-sided) bins.

        The numbers are those of scipy.fft.fft and scipy.fft.rfft.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if n is not None:
            params["n"] = n
        if axis != -1:
            params["axis"] = axis
        if norm != "backward":
            params["norm"] = norm
        if return_onesided is not None:
            params["return_onesided"] = return_onesided
        return self.call("fft", x, params, timeout=timeout, lane=lane).array
