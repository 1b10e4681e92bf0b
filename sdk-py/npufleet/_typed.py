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

    async def wavelet(
        self,
        tensors: ArrayLike | Mapping[str, ArrayLike],
        *,
        method: Literal["decompose", "reconstruct", "denoise"] = "decompose",
        wavelet: Literal["haar", "db1", "db2", "db3", "db4", "db5", "db6", "db7", "db8", "sym2", "sym3", "sym4", "sym5", "sym6", "sym7", "sym8", "coif1", "coif2", "coif3"] = "db4",
        mode: Literal["symmetric", "reflect", "periodic", "periodization", "zero", "constant", "smooth", "antisymmetric", "antireflect"] = "symmetric",
        level: int | None = None,
        axis: int = -1,
        threshold: float | None = None,
        threshold_mode: Literal["soft", "hard", "garrote"] = "soft",
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Multilevel discrete wavelet transform along one axis: decompose samples into coefficients, reconstruct them, or denoise.

        Arguments:

        - `tensors`: arrays by name, of those that follow; one array is `x`.
        - `x`: float32, float64, at least 1-d, optional. Samples, to decompose or to denoise. The axis must
          not be empty.
        - `cA<n>`: float32, float64, at least 1-d, optional. Approximation of the coarsest level n, to
          reconstruct from; exactly one.
        - `cD<n>`: float32, float64, at least 1-d, optional. Details of the levels n to 1, to reconstruct
          from; all of them, of cA's dtype and of its shape but for the axis.
        - `method`: string, one of decompose, reconstruct, denoise, default decompose. What to do: x to
          coefficients, coefficients to y, or x to y by way of thresholded details.
        - `wavelet`: string, one of haar, db1, db2, db3, db4, db5, db6, db7, db8, sym2, sym3, sym4, sym5,
          sym6, sym7, sym8, coif1, coif2, coif3, default db4. Orthogonal wavelet, by PyWavelets' name.
        - `mode`: string, one of symmetric, reflect, periodic, periodization, zero, constant, smooth,
          antisymmetric, antireflect, default symmetric. How samples go on beyond the ends. Reconstruct in
          the mode of the decomposition.
        - `level`: integer, 0 to 30 levels. Levels to decompose into, at most those of pywt.dwt_max_level.
          Default: that many. Not for reconstruct, whose tensors say it.
        - `axis`: integer, -8 to 7, default -1. Axis to transform.
        - `threshold`: number, 0 to 99999999999999997748809823456034029568. Magnitude below which details
          are noise, for denoise. Default: Donoho and Johnstone's universal threshold of each line,
          median(abs(cD1)) / 0.6745 * sqrt(2 log(samples)).
        - `threshold_mode`: string, one of soft, hard, garrote, default soft. What denoise does to details,
          as pywt.threshold: soft takes the threshold off, hard keeps what reaches it, garrote is between
          them.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `y`: float32, float64. Samples, reconstructed or denoised, of the input's dtype. Reconstructed
          ones are one more than were decomposed where that number was odd; denoised ones are shaped as x.
        - `cA<n>`: float32, float64. Approximation of the coarsest level n, of x's dtype and shape but for
          the axis.
        - `cD<n>`: float32, float64. Details of the levels n to 1, of x's dtype and shape but for the axis.

        The numbers are those of pywt.wavedec, pywt.waverec and pywt.threshold.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if method != "decompose":
            params["method"] = method
        if wavelet != "db4":
            params["wavelet"] = wavelet
        if mode != "symmetric":
            params["mode"] = mode
        if level is not None:
            params["level"] = level
        if axis != -1:
            params["axis"] = axis
        if threshold is not None:
            params["threshold"] = threshold
        if threshold_mode != "soft":
            params["threshold_mode"] = threshold_mode
        return await self.call("wavelet", tensors, params, timeout=timeout, lane=lane)

    async def filter(
        self,
        x: ArrayLike,
        zi: ArrayLike | None = None,
        *,
        cutoff: float | Sequence[float],
        fs: float = 2.0,
        btype: Literal["lowpass", "highpass", "bandpass", "bandstop"] = "lowpass",
        ftype: Literal["butter", "cheby1"] = "butter",
        order: int = 4,
        rp: float | None = None,
        axis: int = -1,
        zero_phase: bool = False,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Butterworth or Chebyshev I filter along one axis in second-order sections: causal, whole or chunk by chunk, or with zero phase.

        Arguments:

        - `x`: float32, float64, at least 1-d. Samples. The axis must not be empty; for zero phase it must
          have more than 3 * (poles + 1) samples, a filter having order poles, twice as many for bandpass
          and bandstop.
        - `zi`: float64, at least 2-d, optional. State before the first sample, shaped as zf: the zf of the
          chunk before, or zeros where there is none. Not with zero phase.
        - `cutoff`: 1 to 2 numbers, 0 to 1000000000000 Hz, required. Cutoff frequency, or for bandpass and
          bandstop the lower and the upper one. At least a millionth of fs away from 0, from fs / 2 and from
          each other.
        - `fs`: number, 1e-06 to 1000000000000 Hz, default 2. Sample rate. By default cutoff is a fraction
          of the Nyquist frequency.
        - `btype`: string, one of lowpass, highpass, bandpass, bandstop, default lowpass. Which band passes,
          or for bandstop does not.
        - `ftype`: string, one of butter, cheby1, default butter. Butterworth (maximally flat) or Chebyshev
          I (steeper, with ripple in the passband).
        - `order`: integer, 1 to 16, default 4. Order of the lowpass prototype.
        - `rp`: number, 0.001 to 40 dB. Ripple in the passband, for cheby1 only. Default: 0.5.
        - `axis`: integer, -8 to 7, default -1. Axis to filter along.
        - `zero_phase`: boolean, default false. Filter forward and backward, so that nothing is delayed,
          with the ends extended as SciPy does.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `y`: float32, float64. Filtered samples, of x's dtype and shape; computed in double precision.
        - `zf`: float64. State behind the last sample, in double precision so that chunks join without a
          seam; shaped as x but for the axis, which has 2, and with an axis of the (poles + 1) // 2 sections
          in front. Absent with zero phase.

        The numbers are those of scipy.signal.iirfilter and scipy.signal.sosfilt and scipy.signal.sosfiltfilt.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"x": x}
        if zi is not None:
            tensors["zi"] = zi
        params: dict[str, Any] = {}
        params["cutoff"] = cutoff
        if fs != 2.0:
            params["fs"] = fs
        if btype != "lowpass":
            params["btype"] = btype
        if ftype != "butter":
            params["ftype"] = ftype
        if order != 4:
            params["order"] = order
        if rp is not None:
            params["rp"] = rp
        if axis != -1:
            params["axis"] = axis
        if zero_phase != False:
            params["zero_phase"] = zero_phase
        return await self.call("filter", tensors, params, timeout=timeout, lane=lane)


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

    def wavelet(
        self,
        tensors: ArrayLike | Mapping[str, ArrayLike],
        *,
        method: Literal["decompose", "reconstruct", "denoise"] = "decompose",
        wavelet: Literal["haar", "db1", "db2", "db3", "db4", "db5", "db6", "db7", "db8", "sym2", "sym3", "sym4", "sym5", "sym6", "sym7", "sym8", "coif1", "coif2", "coif3"] = "db4",
        mode: Literal["symmetric", "reflect", "periodic", "periodization", "zero", "constant", "smooth", "antisymmetric", "antireflect"] = "symmetric",
        level: int | None = None,
        axis: int = -1,
        threshold: float | None = None,
        threshold_mode: Literal["soft", "hard", "garrote"] = "soft",
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Multilevel discrete wavelet transform along one axis: decompose samples into coefficients, reconstruct them, or denoise.

        Arguments:

        - `tensors`: arrays by name, of those that follow; one array is `x`.
        - `x`: float32, float64, at least 1-d, optional. Samples, to decompose or to denoise. The axis must
          not be empty.
        - `cA<n>`: float32, float64, at least 1-d, optional. Approximation of the coarsest level n, to
          reconstruct from; exactly one.
        - `cD<n>`: float32, float64, at least 1-d, optional. Details of the levels n to 1, to reconstruct
          from; all of them, of cA's dtype and of its shape but for the axis.
        - `method`: string, one of decompose, reconstruct, denoise, default decompose. What to do: x to
          coefficients, coefficients to y, or x to y by way of thresholded details.
        - `wavelet`: string, one of haar, db1, db2, db3, db4, db5, db6, db7, db8, sym2, sym3, sym4, sym5,
          sym6, sym7, sym8, coif1, coif2, coif3, default db4. Orthogonal wavelet, by PyWavelets' name.
        - `mode`: string, one of symmetric, reflect, periodic, periodization, zero, constant, smooth,
          antisymmetric, antireflect, default symmetric. How samples go on beyond the ends. Reconstruct in
          the mode of the decomposition.
        - `level`: integer, 0 to 30 levels. Levels to decompose into, at most those of pywt.dwt_max_level.
          Default: that many. Not for reconstruct, whose tensors say it.
        - `axis`: integer, -8 to 7, default -1. Axis to transform.
        - `threshold`: number, 0 to 99999999999999997748809823456034029568. Magnitude below which details
          are noise, for denoise. Default: Donoho and Johnstone's universal threshold of each line,
          median(abs(cD1)) / 0.6745 * sqrt(2 log(samples)).
        - `threshold_mode`: string, one of soft, hard, garrote, default soft. What denoise does to details,
          as pywt.threshold: soft takes the threshold off, hard keeps what reaches it, garrote is between
          them.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `y`: float32, float64. Samples, reconstructed or denoised, of the input's dtype. Reconstructed
          ones are one more than were decomposed where that number was odd; denoised ones are shaped as x.
        - `cA<n>`: float32, float64. Approximation of the coarsest level n, of x's dtype and shape but for
          the axis.
        - `cD<n>`: float32, float64. Details of the levels n to 1, of x's dtype and shape but for the axis.

        The numbers are those of pywt.wavedec, pywt.waverec and pywt.threshold.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if method != "decompose":
            params["method"] = method
        if wavelet != "db4":
            params["wavelet"] = wavelet
        if mode != "symmetric":
            params["mode"] = mode
        if level is not None:
            params["level"] = level
        if axis != -1:
            params["axis"] = axis
        if threshold is not None:
            params["threshold"] = threshold
        if threshold_mode != "soft":
            params["threshold_mode"] = threshold_mode
        return self.call("wavelet", tensors, params, timeout=timeout, lane=lane)

    def filter(
        self,
        x: ArrayLike,
        zi: ArrayLike | None = None,
        *,
        cutoff: float | Sequence[float],
        fs: float = 2.0,
        btype: Literal["lowpass", "highpass", "bandpass", "bandstop"] = "lowpass",
        ftype: Literal["butter", "cheby1"] = "butter",
        order: int = 4,
        rp: float | None = None,
        axis: int = -1,
        zero_phase: bool = False,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Butterworth or Chebyshev I filter along one axis in second-order sections: causal, whole or chunk by chunk, or with zero phase.

        Arguments:

        - `x`: float32, float64, at least 1-d. Samples. The axis must not be empty; for zero phase it must
          have more than 3 * (poles + 1) samples, a filter having order poles, twice as many for bandpass
          and bandstop.
        - `zi`: float64, at least 2-d, optional. State before the first sample, shaped as zf: the zf of the
          chunk before, or zeros where there is none. Not with zero phase.
        - `cutoff`: 1 to 2 numbers, 0 to 1000000000000 Hz, required. Cutoff frequency, or for bandpass and
          bandstop the lower and the upper one. At least a millionth of fs away from 0, from fs / 2 and from
          each other.
        - `fs`: number, 1e-06 to 1000000000000 Hz, default 2. Sample rate. By default cutoff is a fraction
          of the Nyquist frequency.
        - `btype`: string, one of lowpass, highpass, bandpass, bandstop, default lowpass. Which band passes,
          or for bandstop does not.
        - `ftype`: string, one of butter, cheby1, default butter. Butterworth (maximally flat) or Chebyshev
          I (steeper, with ripple in the passband).
        - `order`: integer, 1 to 16, default 4. Order of the lowpass prototype.
        - `rp`: number, 0.001 to 40 dB. Ripple in the passband, for cheby1 only. Default: 0.5.
        - `axis`: integer, -8 to 7, default -1. Axis to filter along.
        - `zero_phase`: boolean, default false. Filter forward and backward, so that nothing is delayed,
          with the ends extended as SciPy does.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `y`: float32, float64. Filtered samples, of x's dtype and shape; computed in double precision.
        - `zf`: float64. State behind the last sample, in double precision so that chunks join without a
          seam; shaped as x but for the axis, which has 2, and with an axis of the (poles + 1) // 2 sections
          in front. Absent with zero phase.

        The numbers are those of scipy.signal.iirfilter and scipy.signal.sosfilt and scipy.signal.sosfiltfilt.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"x": x}
        if zi is not None:
            tensors["zi"] = zi
        params: dict[str, Any] = {}
        params["cutoff"] = cutoff
        if fs != 2.0:
            params["fs"] = fs
        if btype != "lowpass":
            params["btype"] = btype
        if ftype != "butter":
            params["ftype"] = ftype
        if order != 4:
            params["order"] = order
        if rp is not None:
            params["rp"] = rp
        if axis != -1:
            params["axis"] = axis
        if zero_phase != False:
            params["zero_phase"] = zero_phase
        return self.call("filter", tensors, params, timeout=timeout, lane=lane)
