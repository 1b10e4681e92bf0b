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
        tensors: ArrayLike | Mapping[str, ArrayLike],
        *,
        delay: float = 0.0,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Return the tensors unchanged, to measure and to rehearse.

        Arguments:

        - `tensors`: any arrays by name; one array is `x`.
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
        - `threshold`: number, 0 to 1e+38. Magnitude below which details are noise, for denoise. Default:
          Donoho and Johnstone's universal threshold of each line, median(abs(cD1)) / 0.6745 * sqrt(2
          log(samples)).
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

    async def pipeline(
        self,
        tensors: ArrayLike | Mapping[str, ArrayLike],
        *,
        steps: Sequence[Mapping[str, Any]],
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Operations one after the other in one request on one worker; what is between them never leaves it.

        Arguments:

        - `tensors`: any arrays by name; one array is `x`.
        - `steps`: 1 to 16 steps, required. Objects with operation, and where wanted params, model (for
          infer), inputs (a tensor of the step before for each name here; for the first step, of the
          request) and request_inputs (likewise, of the request). Without inputs a step takes all tensors by
          their names if it declares them, otherwise the first that the operation before declares (or the
          only one) as its own first; where several always come, inputs must say which.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns the output arrays by name.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        params["steps"] = steps
        return await self.call("pipeline", tensors, params, timeout=timeout, lane=lane)

    async def ifft(
        self,
        x: ArrayLike,
        *,
        n: int | None = None,
        axis: int = -1,
        norm: Literal["backward", "ortho", "forward"] = "backward",
        input_onesided: bool = False,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Inverse discrete Fourier transform along one axis; each line along the axis is transformed on its own.

        Arguments:

        - `x`: float32, float64, complex64, complex128, at least 1-d. Spectrum. The transformed axis must
          not be empty.
        - `n`: integer, 1 to 16777216 samples. Samples to give: x is cropped or padded with zeros to their
          bins, n two-sided or n // 2 + 1 one-sided. Default: the axis as it is, or one-sided 2 * (bins -
          1).
        - `axis`: integer, -8 to 7, default -1. Axis to transform.
        - `norm`: string, one of backward, ortho, forward, default backward. Where to scale, as in SciPy:
          backward is 1/n, ortho 1/sqrt(n), forward no scaling; the same word as the fft had.
        - `input_onesided`: boolean, default false. Whether x has only the bins from 0 to n // 2 of a real
          signal, as fft gives them of real samples; the imaginary parts of bin 0 and, for even n, of bin n
          / 2 are not looked at.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Samples in the precision of x, real for a one-sided spectrum and complex otherwise; shaped
        as x but for the axis, which has n samples.

        The numbers are those of scipy.fft.ifft and scipy.fft.irfft.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if n is not None:
            params["n"] = n
        if axis != -1:
            params["axis"] = axis
        if norm != "backward":
            params["norm"] = norm
        if input_onesided != False:
            params["input_onesided"] = input_onesided
        return (await self.call("ifft", x, params, timeout=timeout, lane=lane)).array

    async def resample(
        self,
        x: ArrayLike,
        *,
        method: Literal["fourier", "polyphase"] = "fourier",
        num: int | None = None,
        up: int = 1,
        down: int = 1,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] | None = None,
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        padtype: Literal["constant", "line", "mean", "median", "maximum", "minimum", "edge", "symmetric", "reflect", "wrap"] | None = None,
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Another sampling rate of x along one axis.

        Arguments:

        - `x`: float32, float64, at least 1-d. Samples. The axis must not be empty.
        - `method`: string, one of fourier, polyphase, default fourier. By the spectrum of the whole line,
          taken to be periodic (fourier, as scipy.signal.resample), or by a low-pass filter (polyphase, as
          scipy.signal.resample_poly).
        - `num`: integer, 1 to 16777216 samples. Samples to give, with fourier only. Default: as up and down
          say.
        - `up`: integer, 1 to 65536, default 1. Factor by which the rate goes up.
        - `down`: integer, 1 to 65536, default 1. Factor by which the rate goes down.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine. Window function that weights the spectrum
          (fourier) or the low-pass filter (polyphase); kaiser needs beta, gaussian std, and tukey takes
          alpha. Default: none for fourier, kaiser with beta 5 for polyphase.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other window.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other
          window.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other window, that is tapered. Default: 0.5.
        - `padtype`: string, one of constant, line, mean, median, maximum, minimum, edge, symmetric,
          reflect, wrap. How x goes on beyond its ends, with polyphase only: zeros (constant), the line
          through its first and last sample, a value of its own (mean to minimum), its end's value (edge),
          mirrored with or without the end (symmetric, reflect), or from its other end (wrap). Default:
          constant.
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Samples in the precision of x, shaped as x but for the axis, which has num, or its length *
        up / down rounded up.

        The numbers are those of scipy.signal.resample and scipy.signal.resample_poly.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if method != "fourier":
            params["method"] = method
        if num is not None:
            params["num"] = num
        if up != 1:
            params["up"] = up
        if down != 1:
            params["down"] = down
        if window is not None:
            params["window"] = window
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        if padtype is not None:
            params["padtype"] = padtype
        if axis != -1:
            params["axis"] = axis
        return (await self.call("resample", x, params, timeout=timeout, lane=lane)).array

    async def spectral(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        *,
        method: Literal["periodogram", "welch", "spectrogram", "csd", "coherence"] = "welch",
        fs: float = 1.0,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] | None = None,
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        nperseg: int | None = None,
        noverlap: int | None = None,
        nfft: int | None = None,
        detrend: Literal["none", "constant", "linear"] = "constant",
        return_onesided: bool | None = None,
        scaling: Literal["density", "spectrum"] = "density",
        average: Literal["mean", "median"] | None = None,
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Power spectrum of x along one axis, or the cross spectrum or coherence of x and y, estimated from windowed segments.

        Arguments:

        - `x`: float32, float64, complex64, complex128, at least 1-d. Samples. The axis must not be empty.
        - `y`: float32, float64, complex64, complex128, at least 1-d, optional. Samples of a second signal,
          of the dtype and shape of x; for csd and coherence only, which need it.
        - `method`: string, one of periodogram, welch, spectrogram, csd, coherence, default welch. What to
          estimate: from x as one segment (periodogram), the average of its segments (welch) or each one
          (spectrogram); the cross spectrum of x and y (csd), conj(X) * Y; their coherence, abs(Pxy)^2 /
          (Pxx * Pyy).
        - `fs`: number, 1e-12 to 1e+18 Hz, default 1. Sampling rate of x.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine. Window function; kaiser needs beta, gaussian
          std, and tukey takes alpha. Default: boxcar for periodogram, tukey with alpha 0.25 for
          spectrogram, hann for the others.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other window.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other
          window.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other window, that is tapered. Default: 0.5.
        - `nperseg`: integer, 1 to 16777216 samples. Samples of a segment, at most as many as x has along
          the axis; not for periodogram. Default: 256, or as many as x has.
        - `noverlap`: integer, 0 to 16777215 samples. Samples that a segment shares with the next, fewer
          than nperseg; not for periodogram. Default: nperseg // 8 for spectrogram, nperseg // 2 for the
          others.
        - `nfft`: integer, 1 to 16777216 samples. Transform length, at least nperseg: segments are padded
          with zeros to it; a periodogram is cropped to it, too. Default: nperseg.
        - `detrend`: string, one of none, constant, linear, default constant. What to take from each segment
          before it is windowed: nothing, its mean, or the line of least squares.
        - `return_onesided`: boolean. Give only the bins from 0 to nfft // 2. Default: true for real x;
          complex x has no one-sided spectrum.
        - `scaling`: string, one of density, spectrum, default density. Give power per Hz (density) or power
          (spectrum); a coherence is the same with both.
        - `average`: string, one of mean, median. How welch and csd average their segments; the median's
          bias is corrected. Default: mean.
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `f`: float64. Frequency of each bin in Hz.
        - `Pxx`: float32, float64, complex64, complex128. Estimate in the precision of x, complex for csd,
          shaped as x but for the axis, which has the bins; for spectrogram with a last dimension for the
          segments.
        - `t`: float64. Time of each segment's middle in seconds; for spectrogram only.

        The numbers are those of scipy.signal.periodogram, scipy.signal.welch, scipy.signal.spectrogram,
        scipy.signal.csd and scipy.signal.coherence.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"x": x}
        if y is not None:
            tensors["y"] = y
        params: dict[str, Any] = {}
        if method != "welch":
            params["method"] = method
        if fs != 1.0:
            params["fs"] = fs
        if window is not None:
            params["window"] = window
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        if nperseg is not None:
            params["nperseg"] = nperseg
        if noverlap is not None:
            params["noverlap"] = noverlap
        if nfft is not None:
            params["nfft"] = nfft
        if detrend != "constant":
            params["detrend"] = detrend
        if return_onesided is not None:
            params["return_onesided"] = return_onesided
        if scaling != "density":
            params["scaling"] = scaling
        if average is not None:
            params["average"] = average
        if axis != -1:
            params["axis"] = axis
        return await self.call("spectral", tensors, params, timeout=timeout, lane=lane)

    async def stft(
        self,
        x: ArrayLike,
        *,
        fs: float = 1.0,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] = "hann",
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        nperseg: int | None = None,
        noverlap: int | None = None,
        nfft: int | None = None,
        detrend: Literal["none", "constant", "linear"] = "none",
        return_onesided: bool | None = None,
        boundary: Literal["zeros", "even", "odd", "constant", "none"] = "zeros",
        padded: bool = True,
        scaling: Literal["spectrum", "psd"] = "spectrum",
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Short-time Fourier transform along one axis: the spectrum of overlapping, windowed segments.

        Arguments:

        - `x`: float32, float64, complex64, complex128, at least 1-d. Samples. The axis must not be empty.
        - `fs`: number, 1e-12 to 1e+18 Hz, default 1. Sampling rate of x.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine, default hann. Window function; kaiser needs
          beta, gaussian std, and tukey takes alpha.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other window.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other
          window.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other window, that is tapered. Default: 0.5.
        - `nperseg`: integer, 1 to 16777216 samples. Samples of a segment, at most as many as x has along
          the axis. Default: 256, or as many as x has.
        - `noverlap`: integer, 0 to 16777215 samples. Samples that a segment shares with the next, fewer
          than nperseg. Default: nperseg // 2.
        - `nfft`: integer, 1 to 16777216 samples. Transform length, at least nperseg: segments are padded
          with zeros to it. Default: nperseg.
        - `detrend`: string, one of none, constant, linear, default none. What to take from each segment
          before it is windowed: nothing, its mean, or the line of least squares.
        - `return_onesided`: boolean. Give only the bins from 0 to nfft // 2. Default: true for real x;
          complex x has no one-sided spectrum.
        - `boundary`: string, one of zeros, even, odd, constant, none, default zeros. How x goes on for
          nperseg // 2 samples beyond both ends, so that the first and last samples are in the middle of a
          segment: zeros, mirrored, mirrored about its end's value, its end's value; none: not at all.
        - `padded`: boolean, default true. Pad x with zeros at its end to whole segments; false leaves out
          the samples that fill none.
        - `scaling`: string, one of spectrum, psd, default spectrum. Scale so that a sine's peak shows its
          magnitude (spectrum), or that squared magnitudes are power per Hz (psd).
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `f`: float64. Frequency of each bin in Hz.
        - `t`: float64. Time of each segment's middle in seconds.
        - `Zxx`: complex64, complex128. Spectra in the precision of x, shaped as x but for the axis, which
          has the bins, and a last dimension for the segments.

        The numbers are those of scipy.signal.stft.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if fs != 1.0:
            params["fs"] = fs
        if window != "hann":
            params["window"] = window
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        if nperseg is not None:
            params["nperseg"] = nperseg
        if noverlap is not None:
            params["noverlap"] = noverlap
        if nfft is not None:
            params["nfft"] = nfft
        if detrend != "none":
            params["detrend"] = detrend
        if return_onesided is not None:
            params["return_onesided"] = return_onesided
        if boundary != "zeros":
            params["boundary"] = boundary
        if padded != True:
            params["padded"] = padded
        if scaling != "spectrum":
            params["scaling"] = scaling
        if axis != -1:
            params["axis"] = axis
        return await self.call("stft", x, params, timeout=timeout, lane=lane)

    async def window(
        self,
        *,
        n: int,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] = "hann",
        fftbins: bool = True,
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Weights of a window function, to shape a signal's ends or a filter.

        Arguments:

        - `n`: integer, 1 to 16777216 samples, required. Number of weights.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine, default hann. Window function; kaiser needs
          beta, gaussian std, and tukey takes alpha.
        - `fftbins`: boolean, default true. Give a periodic window, for spectra; false gives a symmetric
          one, for filters.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other: 0 is boxcar, 5 close to hamming, 14 a
          usual choice.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other, that is tapered: 0 is boxcar, 1 hann.
          Default: 0.5.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Weights, n of them.

        The numbers are those of scipy.signal.get_window.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {}
        params: dict[str, Any] = {}
        params["n"] = n
        if window != "hann":
            params["window"] = window
        if fftbins != True:
            params["fftbins"] = fftbins
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        return (await self.call("window", tensors, params, timeout=timeout, lane=lane)).array

    async def kalman(
        self,
        z: ArrayLike,
        F: ArrayLike | None = None,
        H: ArrayLike | None = None,
        Q: ArrayLike | None = None,
        R: ArrayLike | None = None,
        x0: ArrayLike | None = None,
        P0: ArrayLike | None = None,
        *,
        process_variance: float | None = None,
        measurement_variance: float | None = None,
        initial_mean: float | None = None,
        initial_variance: float | None = None,
        axis: int | None = None,
        smooth: bool = False,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Kalman filter along time, and Rauch-Tung-Striebel smoother: a scalar random walk for each line, or with F, H, Q and R any linear model.

        Arguments:

        - `z`: float32, float64, at least 1-d. Measurements: for a random walk lines along axis; for a
          linear model the last axis holds the components of one measurement. What is not a number makes the
          rest of its line so.
        - `F`: float32, float64, at least 2-d, optional. Transition of the state, [n, n]: x[k] = F x[k-1] +
          process noise. F, H, Q and R come together or not at all.
        - `H`: float32, float64, at least 2-d, optional. Measurement of the state, [m, n]: z[k] = H x[k] +
          measurement noise.
        - `Q`: float32, float64, at least 2-d, optional. Covariance of the process noise, [n, n].
        - `R`: float32, float64, at least 2-d, optional. Covariance of the measurement noise, [m, m].
        - `x0`: float32, float64, at least 1-d, optional. Mean of the state one step before the first
          measurement: [n] for every line, or shaped as x without time. Default: zeros.
        - `P0`: float32, float64, at least 2-d, optional. Covariance of the state one step before the first
          measurement, [n, n]. Default: the identity.
        - `process_variance`: number, 0 to 1e+100. For a random walk: variance of its step. Default: 1e-5.
        - `measurement_variance`: number, 0 to 1e+100. For a random walk: variance of the measurement noise.
          Default: 0.01.
        - `initial_mean`: number, -1e+100 to 1e+100. For a random walk: mean one step before the first
          measurement. Default: each line's first measurement.
        - `initial_variance`: number, 0 to 1e+100. For a random walk: variance one step before the first
          measurement. Default: 1.
        - `axis`: integer, -8 to 7. Axis of time. Default: the last, for a linear model the last but one.
        - `smooth`: boolean, default false. Give each state as all measurements tell it, later ones too,
          instead of those up to its own.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `x`: float32, float64. Means of the state, of z's dtype and shape; for a linear model the last
          axis holds the n components of the state. With the last P they are the x0 and P0 of the next
          chunk, unless smoothed.
        - `P`: float32, float64. Covariances of the state, [time, n, n] or [time] for a random walk; the
          same for every line.
        - `log_likelihood`: float32, float64. Logarithm of the density of each line's measurements, shaped
          as z without time and components.

        The numbers are those of Särkkä, Bayesian Filtering and Smoothing (2013), theorems 4.2 and 8.2 and
        Rauch, Tung and Striebel (1965).

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"z": z}
        if F is not None:
            tensors["F"] = F
        if H is not None:
            tensors["H"] = H
        if Q is not None:
            tensors["Q"] = Q
        if R is not None:
            tensors["R"] = R
        if x0 is not None:
            tensors["x0"] = x0
        if P0 is not None:
            tensors["P0"] = P0
        params: dict[str, Any] = {}
        if process_variance is not None:
            params["process_variance"] = process_variance
        if measurement_variance is not None:
            params["measurement_variance"] = measurement_variance
        if initial_mean is not None:
            params["initial_mean"] = initial_mean
        if initial_variance is not None:
            params["initial_variance"] = initial_variance
        if axis is not None:
            params["axis"] = axis
        if smooth != False:
            params["smooth"] = smooth
        return await self.call("kalman", tensors, params, timeout=timeout, lane=lane)

    async def adaptive(
        self,
        x: ArrayLike,
        d: ArrayLike,
        w0: ArrayLike | None = None,
        *,
        method: Literal["lms", "nlms", "rls"] = "lms",
        order: int = 8,
        mu: float | None = None,
        eps: float | None = None,
        lam: float | None = None,
        delta: float | None = None,
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Adaptive transversal filter along one axis: from x predict d by weights that learn from every error (LMS, NLMS, RLS).

        Arguments:

        - `x`: float32, float64, at least 1-d. Input, taken as zero before its first sample. The axis must
          not be empty. What is not a number makes the rest of its line so.
        - `d`: float32, float64, at least 1-d. Desired output, of x's dtype and shape.
        - `w0`: float32, float64, at least 1-d, optional. Weights at the first sample: [order] for every
          line, or shaped as w. Default: zeros.
        - `method`: string, one of lms, nlms, rls, default lms. Least mean squares, the same normalised by
          the input's power, or recursive least squares.
        - `order`: integer, 1 to 512 taps, default 8. Number of weights.
        - `mu`: number, 0 to 1000000. Step size of lms and nlms; for nlms below 2, for lms stable up to 2 /
          (order * power of x). Default: 0.01 for lms, 0.5 for nlms.
        - `eps`: number, 1e-12 to 1000000000000. For nlms: added to the input's power, so that silence
          divides by something. Default: 1e-6.
        - `lam`: number, 0.01 to 1. For rls: forgetting factor. Default: 0.99.
        - `delta`: number, 1e-09 to 1000000000. For rls: regularisation; the inverse correlation begins as
          the identity divided by it. Default: 0.01.
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `y`: float32, float64. Output of the filter, of x's dtype and shape: each from the weights before
          its error is known.
        - `e`: float32, float64. Error d - y, of x's dtype and shape.
        - `w`: float32, float64. Weights behind the last sample, of x's dtype, shaped as x but for the axis,
          which has order; the first weighs the latest sample.

        The numbers are those of Haykin, Adaptive Filter Theory (5th edition, 2014), chapters 6, 7 and 10.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"x": x, "d": d}
        if w0 is not None:
            tensors["w0"] = w0
        params: dict[str, Any] = {}
        if method != "lms":
            params["method"] = method
        if order != 8:
            params["order"] = order
        if mu is not None:
            params["mu"] = mu
        if eps is not None:
            params["eps"] = eps
        if lam is not None:
            params["lam"] = lam
        if delta is not None:
            params["delta"] = delta
        if axis != -1:
            params["axis"] = axis
        return await self.call("adaptive", tensors, params, timeout=timeout, lane=lane)


class Operations:
    """The operations as blocking methods, for a class that has `call`."""

    __slots__ = ()

    if TYPE_CHECKING:
        call: Callable[..., Result]

    def echo(
        self,
        tensors: ArrayLike | Mapping[str, ArrayLike],
        *,
        delay: float = 0.0,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Return the tensors unchanged, to measure and to rehearse.

        Arguments:

        - `tensors`: any arrays by name; one array is `x`.
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
        - `threshold`: number, 0 to 1e+38. Magnitude below which details are noise, for denoise. Default:
          Donoho and Johnstone's universal threshold of each line, median(abs(cD1)) / 0.6745 * sqrt(2
          log(samples)).
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

    def pipeline(
        self,
        tensors: ArrayLike | Mapping[str, ArrayLike],
        *,
        steps: Sequence[Mapping[str, Any]],
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Operations one after the other in one request on one worker; what is between them never leaves it.

        Arguments:

        - `tensors`: any arrays by name; one array is `x`.
        - `steps`: 1 to 16 steps, required. Objects with operation, and where wanted params, model (for
          infer), inputs (a tensor of the step before for each name here; for the first step, of the
          request) and request_inputs (likewise, of the request). Without inputs a step takes all tensors by
          their names if it declares them, otherwise the first that the operation before declares (or the
          only one) as its own first; where several always come, inputs must say which.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns the output arrays by name.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        params["steps"] = steps
        return self.call("pipeline", tensors, params, timeout=timeout, lane=lane)

    def ifft(
        self,
        x: ArrayLike,
        *,
        n: int | None = None,
        axis: int = -1,
        norm: Literal["backward", "ortho", "forward"] = "backward",
        input_onesided: bool = False,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Inverse discrete Fourier transform along one axis; each line along the axis is transformed on its own.

        Arguments:

        - `x`: float32, float64, complex64, complex128, at least 1-d. Spectrum. The transformed axis must
          not be empty.
        - `n`: integer, 1 to 16777216 samples. Samples to give: x is cropped or padded with zeros to their
          bins, n two-sided or n // 2 + 1 one-sided. Default: the axis as it is, or one-sided 2 * (bins -
          1).
        - `axis`: integer, -8 to 7, default -1. Axis to transform.
        - `norm`: string, one of backward, ortho, forward, default backward. Where to scale, as in SciPy:
          backward is 1/n, ortho 1/sqrt(n), forward no scaling; the same word as the fft had.
        - `input_onesided`: boolean, default false. Whether x has only the bins from 0 to n // 2 of a real
          signal, as fft gives them of real samples; the imaginary parts of bin 0 and, for even n, of bin n
          / 2 are not looked at.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Samples in the precision of x, real for a one-sided spectrum and complex otherwise; shaped
        as x but for the axis, which has n samples.

        The numbers are those of scipy.fft.ifft and scipy.fft.irfft.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if n is not None:
            params["n"] = n
        if axis != -1:
            params["axis"] = axis
        if norm != "backward":
            params["norm"] = norm
        if input_onesided != False:
            params["input_onesided"] = input_onesided
        return self.call("ifft", x, params, timeout=timeout, lane=lane).array

    def resample(
        self,
        x: ArrayLike,
        *,
        method: Literal["fourier", "polyphase"] = "fourier",
        num: int | None = None,
        up: int = 1,
        down: int = 1,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] | None = None,
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        padtype: Literal["constant", "line", "mean", "median", "maximum", "minimum", "edge", "symmetric", "reflect", "wrap"] | None = None,
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Another sampling rate of x along one axis.

        Arguments:

        - `x`: float32, float64, at least 1-d. Samples. The axis must not be empty.
        - `method`: string, one of fourier, polyphase, default fourier. By the spectrum of the whole line,
          taken to be periodic (fourier, as scipy.signal.resample), or by a low-pass filter (polyphase, as
          scipy.signal.resample_poly).
        - `num`: integer, 1 to 16777216 samples. Samples to give, with fourier only. Default: as up and down
          say.
        - `up`: integer, 1 to 65536, default 1. Factor by which the rate goes up.
        - `down`: integer, 1 to 65536, default 1. Factor by which the rate goes down.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine. Window function that weights the spectrum
          (fourier) or the low-pass filter (polyphase); kaiser needs beta, gaussian std, and tukey takes
          alpha. Default: none for fourier, kaiser with beta 5 for polyphase.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other window.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other
          window.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other window, that is tapered. Default: 0.5.
        - `padtype`: string, one of constant, line, mean, median, maximum, minimum, edge, symmetric,
          reflect, wrap. How x goes on beyond its ends, with polyphase only: zeros (constant), the line
          through its first and last sample, a value of its own (mean to minimum), its end's value (edge),
          mirrored with or without the end (symmetric, reflect), or from its other end (wrap). Default:
          constant.
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Samples in the precision of x, shaped as x but for the axis, which has num, or its length *
        up / down rounded up.

        The numbers are those of scipy.signal.resample and scipy.signal.resample_poly.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if method != "fourier":
            params["method"] = method
        if num is not None:
            params["num"] = num
        if up != 1:
            params["up"] = up
        if down != 1:
            params["down"] = down
        if window is not None:
            params["window"] = window
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        if padtype is not None:
            params["padtype"] = padtype
        if axis != -1:
            params["axis"] = axis
        return self.call("resample", x, params, timeout=timeout, lane=lane).array

    def spectral(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        *,
        method: Literal["periodogram", "welch", "spectrogram", "csd", "coherence"] = "welch",
        fs: float = 1.0,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] | None = None,
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        nperseg: int | None = None,
        noverlap: int | None = None,
        nfft: int | None = None,
        detrend: Literal["none", "constant", "linear"] = "constant",
        return_onesided: bool | None = None,
        scaling: Literal["density", "spectrum"] = "density",
        average: Literal["mean", "median"] | None = None,
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Power spectrum of x along one axis, or the cross spectrum or coherence of x and y, estimated from windowed segments.

        Arguments:

        - `x`: float32, float64, complex64, complex128, at least 1-d. Samples. The axis must not be empty.
        - `y`: float32, float64, complex64, complex128, at least 1-d, optional. Samples of a second signal,
          of the dtype and shape of x; for csd and coherence only, which need it.
        - `method`: string, one of periodogram, welch, spectrogram, csd, coherence, default welch. What to
          estimate: from x as one segment (periodogram), the average of its segments (welch) or each one
          (spectrogram); the cross spectrum of x and y (csd), conj(X) * Y; their coherence, abs(Pxy)^2 /
          (Pxx * Pyy).
        - `fs`: number, 1e-12 to 1e+18 Hz, default 1. Sampling rate of x.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine. Window function; kaiser needs beta, gaussian
          std, and tukey takes alpha. Default: boxcar for periodogram, tukey with alpha 0.25 for
          spectrogram, hann for the others.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other window.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other
          window.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other window, that is tapered. Default: 0.5.
        - `nperseg`: integer, 1 to 16777216 samples. Samples of a segment, at most as many as x has along
          the axis; not for periodogram. Default: 256, or as many as x has.
        - `noverlap`: integer, 0 to 16777215 samples. Samples that a segment shares with the next, fewer
          than nperseg; not for periodogram. Default: nperseg // 8 for spectrogram, nperseg // 2 for the
          others.
        - `nfft`: integer, 1 to 16777216 samples. Transform length, at least nperseg: segments are padded
          with zeros to it; a periodogram is cropped to it, too. Default: nperseg.
        - `detrend`: string, one of none, constant, linear, default constant. What to take from each segment
          before it is windowed: nothing, its mean, or the line of least squares.
        - `return_onesided`: boolean. Give only the bins from 0 to nfft // 2. Default: true for real x;
          complex x has no one-sided spectrum.
        - `scaling`: string, one of density, spectrum, default density. Give power per Hz (density) or power
          (spectrum); a coherence is the same with both.
        - `average`: string, one of mean, median. How welch and csd average their segments; the median's
          bias is corrected. Default: mean.
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `f`: float64. Frequency of each bin in Hz.
        - `Pxx`: float32, float64, complex64, complex128. Estimate in the precision of x, complex for csd,
          shaped as x but for the axis, which has the bins; for spectrogram with a last dimension for the
          segments.
        - `t`: float64. Time of each segment's middle in seconds; for spectrogram only.

        The numbers are those of scipy.signal.periodogram, scipy.signal.welch, scipy.signal.spectrogram,
        scipy.signal.csd and scipy.signal.coherence.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"x": x}
        if y is not None:
            tensors["y"] = y
        params: dict[str, Any] = {}
        if method != "welch":
            params["method"] = method
        if fs != 1.0:
            params["fs"] = fs
        if window is not None:
            params["window"] = window
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        if nperseg is not None:
            params["nperseg"] = nperseg
        if noverlap is not None:
            params["noverlap"] = noverlap
        if nfft is not None:
            params["nfft"] = nfft
        if detrend != "constant":
            params["detrend"] = detrend
        if return_onesided is not None:
            params["return_onesided"] = return_onesided
        if scaling != "density":
            params["scaling"] = scaling
        if average is not None:
            params["average"] = average
        if axis != -1:
            params["axis"] = axis
        return self.call("spectral", tensors, params, timeout=timeout, lane=lane)

    def stft(
        self,
        x: ArrayLike,
        *,
        fs: float = 1.0,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] = "hann",
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        nperseg: int | None = None,
        noverlap: int | None = None,
        nfft: int | None = None,
        detrend: Literal["none", "constant", "linear"] = "none",
        return_onesided: bool | None = None,
        boundary: Literal["zeros", "even", "odd", "constant", "none"] = "zeros",
        padded: bool = True,
        scaling: Literal["spectrum", "psd"] = "spectrum",
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Short-time Fourier transform along one axis: the spectrum of overlapping, windowed segments.

        Arguments:

        - `x`: float32, float64, complex64, complex128, at least 1-d. Samples. The axis must not be empty.
        - `fs`: number, 1e-12 to 1e+18 Hz, default 1. Sampling rate of x.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine, default hann. Window function; kaiser needs
          beta, gaussian std, and tukey takes alpha.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other window.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other
          window.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other window, that is tapered. Default: 0.5.
        - `nperseg`: integer, 1 to 16777216 samples. Samples of a segment, at most as many as x has along
          the axis. Default: 256, or as many as x has.
        - `noverlap`: integer, 0 to 16777215 samples. Samples that a segment shares with the next, fewer
          than nperseg. Default: nperseg // 2.
        - `nfft`: integer, 1 to 16777216 samples. Transform length, at least nperseg: segments are padded
          with zeros to it. Default: nperseg.
        - `detrend`: string, one of none, constant, linear, default none. What to take from each segment
          before it is windowed: nothing, its mean, or the line of least squares.
        - `return_onesided`: boolean. Give only the bins from 0 to nfft // 2. Default: true for real x;
          complex x has no one-sided spectrum.
        - `boundary`: string, one of zeros, even, odd, constant, none, default zeros. How x goes on for
          nperseg // 2 samples beyond both ends, so that the first and last samples are in the middle of a
          segment: zeros, mirrored, mirrored about its end's value, its end's value; none: not at all.
        - `padded`: boolean, default true. Pad x with zeros at its end to whole segments; false leaves out
          the samples that fill none.
        - `scaling`: string, one of spectrum, psd, default spectrum. Scale so that a sine's peak shows its
          magnitude (spectrum), or that squared magnitudes are power per Hz (psd).
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `f`: float64. Frequency of each bin in Hz.
        - `t`: float64. Time of each segment's middle in seconds.
        - `Zxx`: complex64, complex128. Spectra in the precision of x, shaped as x but for the axis, which
          has the bins, and a last dimension for the segments.

        The numbers are those of scipy.signal.stft.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        params: dict[str, Any] = {}
        if fs != 1.0:
            params["fs"] = fs
        if window != "hann":
            params["window"] = window
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        if nperseg is not None:
            params["nperseg"] = nperseg
        if noverlap is not None:
            params["noverlap"] = noverlap
        if nfft is not None:
            params["nfft"] = nfft
        if detrend != "none":
            params["detrend"] = detrend
        if return_onesided is not None:
            params["return_onesided"] = return_onesided
        if boundary != "zeros":
            params["boundary"] = boundary
        if padded != True:
            params["padded"] = padded
        if scaling != "spectrum":
            params["scaling"] = scaling
        if axis != -1:
            params["axis"] = axis
        return self.call("stft", x, params, timeout=timeout, lane=lane)

    def window(
        self,
        *,
        n: int,
        window: Literal["boxcar", "hann", "hamming", "blackman", "blackmanharris", "bartlett", "flattop", "nuttall", "kaiser", "gaussian", "tukey", "triang", "cosine"] = "hann",
        fftbins: bool = True,
        beta: float | None = None,
        std: float | None = None,
        alpha: float | None = None,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> NDArray[Any]:
        """Weights of a window function, to shape a signal's ends or a filter.

        Arguments:

        - `n`: integer, 1 to 16777216 samples, required. Number of weights.
        - `window`: string, one of boxcar, hann, hamming, blackman, blackmanharris, bartlett, flattop,
          nuttall, kaiser, gaussian, tukey, triang, cosine, default hann. Window function; kaiser needs
          beta, gaussian std, and tukey takes alpha.
        - `fftbins`: boolean, default true. Give a periodic window, for spectra; false gives a symmetric
          one, for filters.
        - `beta`: number, 0 to 500. Shape of kaiser, and of no other: 0 is boxcar, 5 close to hamming, 14 a
          usual choice.
        - `std`: number, 0.001 to 1000000000 samples. Standard deviation of gaussian, and of no other.
        - `alpha`: number, 0 to 1. Part of tukey, and of no other, that is tapered: 0 is boxcar, 1 hann.
          Default: 0.5.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns `y`: Weights, n of them.

        The numbers are those of scipy.signal.get_window.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {}
        params: dict[str, Any] = {}
        params["n"] = n
        if window != "hann":
            params["window"] = window
        if fftbins != True:
            params["fftbins"] = fftbins
        if beta is not None:
            params["beta"] = beta
        if std is not None:
            params["std"] = std
        if alpha is not None:
            params["alpha"] = alpha
        return self.call("window", tensors, params, timeout=timeout, lane=lane).array

    def kalman(
        self,
        z: ArrayLike,
        F: ArrayLike | None = None,
        H: ArrayLike | None = None,
        Q: ArrayLike | None = None,
        R: ArrayLike | None = None,
        x0: ArrayLike | None = None,
        P0: ArrayLike | None = None,
        *,
        process_variance: float | None = None,
        measurement_variance: float | None = None,
        initial_mean: float | None = None,
        initial_variance: float | None = None,
        axis: int | None = None,
        smooth: bool = False,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Kalman filter along time, and Rauch-Tung-Striebel smoother: a scalar random walk for each line, or with F, H, Q and R any linear model.

        Arguments:

        - `z`: float32, float64, at least 1-d. Measurements: for a random walk lines along axis; for a
          linear model the last axis holds the components of one measurement. What is not a number makes the
          rest of its line so.
        - `F`: float32, float64, at least 2-d, optional. Transition of the state, [n, n]: x[k] = F x[k-1] +
          process noise. F, H, Q and R come together or not at all.
        - `H`: float32, float64, at least 2-d, optional. Measurement of the state, [m, n]: z[k] = H x[k] +
          measurement noise.
        - `Q`: float32, float64, at least 2-d, optional. Covariance of the process noise, [n, n].
        - `R`: float32, float64, at least 2-d, optional. Covariance of the measurement noise, [m, m].
        - `x0`: float32, float64, at least 1-d, optional. Mean of the state one step before the first
          measurement: [n] for every line, or shaped as x without time. Default: zeros.
        - `P0`: float32, float64, at least 2-d, optional. Covariance of the state one step before the first
          measurement, [n, n]. Default: the identity.
        - `process_variance`: number, 0 to 1e+100. For a random walk: variance of its step. Default: 1e-5.
        - `measurement_variance`: number, 0 to 1e+100. For a random walk: variance of the measurement noise.
          Default: 0.01.
        - `initial_mean`: number, -1e+100 to 1e+100. For a random walk: mean one step before the first
          measurement. Default: each line's first measurement.
        - `initial_variance`: number, 0 to 1e+100. For a random walk: variance one step before the first
          measurement. Default: 1.
        - `axis`: integer, -8 to 7. Axis of time. Default: the last, for a linear model the last but one.
        - `smooth`: boolean, default false. Give each state as all measurements tell it, later ones too,
          instead of those up to its own.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `x`: float32, float64. Means of the state, of z's dtype and shape; for a linear model the last
          axis holds the n components of the state. With the last P they are the x0 and P0 of the next
          chunk, unless smoothed.
        - `P`: float32, float64. Covariances of the state, [time, n, n] or [time] for a random walk; the
          same for every line.
        - `log_likelihood`: float32, float64. Logarithm of the density of each line's measurements, shaped
          as z without time and components.

        The numbers are those of Särkkä, Bayesian Filtering and Smoothing (2013), theorems 4.2 and 8.2 and
        Rauch, Tung and Striebel (1965).

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"z": z}
        if F is not None:
            tensors["F"] = F
        if H is not None:
            tensors["H"] = H
        if Q is not None:
            tensors["Q"] = Q
        if R is not None:
            tensors["R"] = R
        if x0 is not None:
            tensors["x0"] = x0
        if P0 is not None:
            tensors["P0"] = P0
        params: dict[str, Any] = {}
        if process_variance is not None:
            params["process_variance"] = process_variance
        if measurement_variance is not None:
            params["measurement_variance"] = measurement_variance
        if initial_mean is not None:
            params["initial_mean"] = initial_mean
        if initial_variance is not None:
            params["initial_variance"] = initial_variance
        if axis is not None:
            params["axis"] = axis
        if smooth != False:
            params["smooth"] = smooth
        return self.call("kalman", tensors, params, timeout=timeout, lane=lane)

    def adaptive(
        self,
        x: ArrayLike,
        d: ArrayLike,
        w0: ArrayLike | None = None,
        *,
        method: Literal["lms", "nlms", "rls"] = "lms",
        order: int = 8,
        mu: float | None = None,
        eps: float | None = None,
        lam: float | None = None,
        delta: float | None = None,
        axis: int = -1,
        timeout: float = 30.0,
        lane: str = "normal",
    ) -> Result:
        """Adaptive transversal filter along one axis: from x predict d by weights that learn from every error (LMS, NLMS, RLS).

        Arguments:

        - `x`: float32, float64, at least 1-d. Input, taken as zero before its first sample. The axis must
          not be empty. What is not a number makes the rest of its line so.
        - `d`: float32, float64, at least 1-d. Desired output, of x's dtype and shape.
        - `w0`: float32, float64, at least 1-d, optional. Weights at the first sample: [order] for every
          line, or shaped as w. Default: zeros.
        - `method`: string, one of lms, nlms, rls, default lms. Least mean squares, the same normalised by
          the input's power, or recursive least squares.
        - `order`: integer, 1 to 512 taps, default 8. Number of weights.
        - `mu`: number, 0 to 1000000. Step size of lms and nlms; for nlms below 2, for lms stable up to 2 /
          (order * power of x). Default: 0.01 for lms, 0.5 for nlms.
        - `eps`: number, 1e-12 to 1000000000000. For nlms: added to the input's power, so that silence
          divides by something. Default: 1e-6.
        - `lam`: number, 0.01 to 1. For rls: forgetting factor. Default: 0.99.
        - `delta`: number, 1e-09 to 1000000000. For rls: regularisation; the inverse correlation begins as
          the identity divided by it. Default: 0.01.
        - `axis`: integer, -8 to 7, default -1. Axis of time.
        - `timeout`: seconds until the call ends with `DeadlineExceededError`.
        - `lane`: the priority: realtime, critical, high, normal or low.

        Returns:

        - `y`: float32, float64. Output of the filter, of x's dtype and shape: each from the weights before
          its error is known.
        - `e`: float32, float64. Error d - y, of x's dtype and shape.
        - `w`: float32, float64. Weights behind the last sample, of x's dtype, shaped as x but for the axis,
          which has order; the first weighs the latest sample.

        The numbers are those of Haykin, Adaptive Filter Theory (5th edition, 2014), chapters 6, 7 and 10.

        Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`.
        """
        tensors: dict[str, ArrayLike] = {"x": x, "d": d}
        if w0 is not None:
            tensors["w0"] = w0
        params: dict[str, Any] = {}
        if method != "lms":
            params["method"] = method
        if order != 8:
            params["order"] = order
        if mu is not None:
            params["mu"] = mu
        if eps is not None:
            params["eps"] = eps
        if lam is not None:
            params["lam"] = lam
        if delta is not None:
            params["delta"] = delta
        if axis != -1:
            params["axis"] = axis
        return self.call("adaptive", tensors, params, timeout=timeout, lane=lane)
