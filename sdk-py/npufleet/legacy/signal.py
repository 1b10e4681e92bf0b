"""The six signal operations of the former system as operations of the contract, with the same parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from npufleet.errors import InvalidParameterError, UnknownOperationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEGMENT: Final = 256
"""Samples of a segment where the former system named none."""

RIPPLE_DB: Final = 0.5
"""Passband ripple of its Chebyshev filters, which were of type I."""


class Request(NamedTuple):
    """An operation of the contract and its parameters; `tensors` are the names that the samples go by."""

    operation: str
    params: dict[str, Any]
    tensors: tuple[str, ...] = ("x",)


def translate(operation: str, samples: int, parameters: Mapping[str, object] | None = None) -> Request:
    """Return the request that does what the former `process_signal(operation, data, parameters)` promised.

    `samples` is the number of samples of `data`. The operations and their parameters: `fft` (window, overlap as a
    share below 1), `filter` (type butterworth or chebyshev, order, cutoff_freq and sample_rate in Hz), `kalman`
    (process_noise, measurement_noise as variances), `wavelet` (type, levels), `spectral` (method welch or
    periodogram, window_size in samples, overlap_percent), `adaptive` (algorithm lms, step_size, filter_length).
    Raises `UnknownOperationError` and `InvalidParameterError`.
    """
    found = _OPERATIONS.get(operation)
    if found is None:
        raise UnknownOperationError(f"operation is {operation!r}; allowed: {', '.join(_OPERATIONS)}")
    names, make = found
    given = dict(parameters or {})
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InvalidParameterError(f"{operation} has no parameter '{unknown[0]}'; allowed: {', '.join(names)}")
    return make(samples, given)


def _fft(samples: int, given: dict[str, Any]) -> Request:
    window, overlap = given.get("window"), _number("overlap", given.get("overlap", 0.0), 0.0, 1.0)
    if window is None and not overlap:
        return Request("fft", {})
    segment = min(SEGMENT, samples) if overlap else samples
    params = {"window": window or "boxcar", "nperseg": segment, "noverlap": int(overlap * segment)}
    return Request("stft", {**params, "boundary": "none", "padded": False})


def _filter(_: int, given: dict[str, Any]) -> Request:
    kind = _choice("type", given.get("type", "butterworth"), {"butterworth": "butter", "chebyshev": "cheby1"})
    params = {"ftype": kind, "order": given.get("order", 4), "fs": given.get("sample_rate", 2.0)}
    if "cutoff_freq" not in given:
        raise InvalidParameterError("cutoff_freq is missing; filter needs it, in Hz")
    params["cutoff"] = given["cutoff_freq"]
    return Request("filter", {**params, "rp": RIPPLE_DB} if kind == "cheby1" else params)


def _kalman(_: int, given: dict[str, Any]) -> Request:
    names = {"process_noise": "process_variance", "measurement_noise": "measurement_variance"}
    return Request("kalman", {names[name]: value for name, value in given.items()}, ("z",))


def _wavelet(_: int, given: dict[str, Any]) -> Request:
    names = {"type": "wavelet", "levels": "level"}
    return Request("wavelet", {names[name]: value for name, value in given.items()})


def _spectral(samples: int, given: dict[str, Any]) -> Request:
    method = _choice("method", given.get("method", "welch"), {"welch": "welch", "periodogram": "periodogram"})
    if method == "periodogram":
        return Request("spectral", {"method": method})
    size = int(_number("window_size", given.get("window_size", min(SEGMENT, samples)), 1, samples + 1))
    overlap = _number("overlap_percent", given.get("overlap_percent", 50.0), 0.0, 100.0)
    return Request("spectral", {"method": method, "nperseg": size, "noverlap": int(size * overlap / 100.0)})


def _adaptive(_: int, given: dict[str, Any]) -> Request:
    _choice("algorithm", given.get("algorithm", "lms"), {"lms": "lms"})
    names = {"step_size": "mu", "filter_length": "order"}
    params = {new: given[old] for old, new in names.items() if old in given}
    # It predicted a signal from itself.
    return Request("adaptive", {"method": "lms", **params}, ("x", "d"))


def _choice(field: str, value: object, allowed: dict[str, str]) -> str:
    found = allowed.get(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidParameterError(f"{field} is {value!r}; allowed: {', '.join(allowed)}")
    return found


def _number(field: str, value: object, least: float, below: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < below:
        raise InvalidParameterError(f"{field} is {value!r}; allowed: {least:g} to below {below:g}")
    return float(value)


_OPERATIONS: Final[dict[str, tuple[tuple[str, ...], Callable[[int, dict[str, Any]], Request]]]] = {
    "fft": (("window", "overlap"), _fft),
    "filter": (("type", "order", "cutoff_freq", "sample_rate"), _filter),
    "kalman": (("process_noise", "measurement_noise"), _kalman),
    "wavelet": (("type", "levels"), _wavelet),
    "spectral": (("method", "window_size", "overlap_percent"), _spectral),
    "adaptive": (("algorithm", "step_size", "filter_length"), _adaptive),
}
