"""Calls of an asyncio program: arrays in, arrays out, and what is refused before anything is sent."""

from __future__ import annotations

import array
import asyncio
from typing import Any

import numpy as np
import pytest
import scipy.signal

from npufleet import (
    AsyncFleet,
    CallCancelledError,
    DeadlineExceededError,
    InvalidParameterError,
    InvalidShapeError,
    PayloadTooLargeError,
    UnknownModelError,
    UnknownOperationError,
)


async def test_a_result_says_what_was_computed_and_by_whom(fleet: AsyncFleet, engine: str) -> None:
    result = await fleet.call("fft", np.arange(8.0), {"norm": "ortho"})
    np.testing.assert_allclose(result["y"], np.fft.rfft(np.arange(8.0), norm="ortho"), atol=1e-12)
    assert result.array is result["y"]
    assert list(result) == ["y"]
    assert (result.engine, result.device, result.fallback_reason) == (engine, "CPU", None)
    assert result.timing is not None
    assert result.timing.executing >= 0
    assert not result.array.flags.writeable
    assert f"engine={engine}" in repr(result)


async def test_parameters_may_be_keywords(fleet: AsyncFleet) -> None:
    result = await fleet.call("fft", np.arange(8.0), {"n": 4}, norm="ortho")
    np.testing.assert_allclose(result.array, np.fft.rfft(np.arange(8.0), 4, norm="ortho"), atol=1e-12)
    with pytest.raises(InvalidParameterError, match="'n' is given twice"):
        await fleet.call("fft", np.arange(8.0), {"n": 4}, n=8)
    with pytest.raises(InvalidParameterError, match="nrom"):
        await fleet.call("fft", np.arange(8.0), nrom="ortho")


async def test_a_typed_method_gives_the_array(fleet: AsyncFleet) -> None:
    spectrum = await fleet.fft(np.ones(16), n=8, norm="forward")
    np.testing.assert_allclose(spectrum, np.fft.rfft(np.ones(8), norm="forward"), atol=1e-12)


async def test_an_operation_without_inputs(fleet: AsyncFleet) -> None:
    np.testing.assert_allclose(await fleet.window(n=8, window="bartlett", fftbins=False), np.bartlett(8))


async def test_many_calls_at_once_get_their_own_answers(fleet: AsyncFleet, engine: str) -> None:
    results = await asyncio.gather(*(fleet.call("echo", {"x": np.array([i])}) for i in range(500)))
    assert [int(result["x"][0]) for result in results] == list(range(500))
    assert fleet.statistics().calls == fleet.statistics().answered == 500
    assert fleet.statistics().engines == {engine: 500}


SPECIAL = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324, np.finfo(np.float64).max])
ARRAYS: dict[str, Any] = {
    "nan and infinities": SPECIAL,
    "signalling nan": np.array([0x7FF0000000000001, 0xFFF8DEADBEEF0001], np.uint64).view(np.float64),
    "zero length": np.empty((0,), np.float32),
    "zero length in the middle": np.empty((3, 0, 2), np.int16),
    "0-d": np.array(3.5),
    "strided": np.arange(24).reshape(4, 6)[::2, ::-3],
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(5, dtype=">f8"),
    "big-endian strided": np.arange(9, dtype=">i4")[::2],
    "complex128": np.arange(4) * (1 + 2j),
    "complex64": (np.arange(4) * (1 - 1j)).astype(np.complex64),
    "float16": np.arange(3, dtype=np.float16),
    "bool": np.array([True, False]),
    "read-only": np.frombuffer(b"\x01\x02\x03\x04", np.uint16),
    "8 dimensions": np.arange(256).reshape((2,) * 8),
}


@pytest.mark.parametrize("given", ARRAYS.values(), ids=ARRAYS.keys())
async def test_every_array_comes_back_unchanged(fleet: AsyncFleet, given: np.ndarray[Any, Any]) -> None:
    result = await fleet.call("echo", {"x": given, "beside": np.uint8(7)})
    back = result["x"]
    assert back.dtype == given.dtype.newbyteorder("<")
    assert back.shape == given.shape
    assert back.tobytes() == given.astype(back.dtype).tobytes()
    assert result["beside"] == 7


class OnlyDlpack:
    """What another library's tensor looks like to us."""

    def __init__(self, content: np.ndarray[Any, Any]) -> None:
        self._content = content

    def __dlpack__(self, **options: Any) -> Any:
        return self._content.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._content.__dlpack_device__()


async def test_a_strided_array_is_transformed_as_it_reads(fleet: AsyncFleet) -> None:
    for _ in range(2):  # the second time from the caches
        spectrum = await fleet.fft(np.arange(16.0)[::-2])
        np.testing.assert_allclose(spectrum, np.fft.rfft(np.arange(16.0)[::-2]), atol=1e-12)


@pytest.mark.parametrize(
    "given",
    [OnlyDlpack(np.arange(3.0)), array.array("d", [0, 1, 2]), memoryview(np.arange(3.0)), [0.0, 1.0, 2.0]],
    ids=["dlpack", "array.array", "memoryview", "list"],
)
async def test_other_array_likes_are_taken(fleet: AsyncFleet, given: object) -> None:
    result = await fleet.call("echo", {"x": given})
    assert result["x"].tolist() == [0.0, 1.0, 2.0]


X = np.arange(4.0)
REFUSED: dict[str, tuple[type[Exception], tuple[Any, ...], dict[str, Any], tuple[str, ...]]] = {
    "operation": (UnknownOperationError, ("fourier", X), {}, ("fourier", "fft")),
    "parameter": (InvalidParameterError, ("fft", X, {"nrom": 1}), {}, ("nrom", "norm")),
    "choice": (InvalidParameterError, ("fft", X, {"norm": "loud"}), {}, ("norm", "loud", "ortho")),
    "range": (InvalidParameterError, ("fft", X, {"n": 0}), {}, ("'n'", "0", "1 to 16777216")),
    "bool for integer": (InvalidParameterError, ("fft", X, {"n": True}), {}, ("'n'", "true")),
    "nan parameter": (InvalidParameterError, ("echo", {"x": X}, {"delay": float("nan")}), {}, ("delay", "nan")),
    "dtype": (InvalidShapeError, ("fft", np.arange(4)), {}, ("'x'", "int64", "float64")),
    "rank": (InvalidShapeError, ("fft", np.array(1.0)), {}, ("'x'", "0 dim")),
    "tensor name": (InvalidShapeError, ("fft", {"y": X}), {}, ("'x'",)),
    "too many dimensions": (InvalidShapeError, ("echo", {"x": np.zeros((1,) * 9)}), {}, ("9 dim", "8")),
    "object array": (InvalidShapeError, ("echo", {"x": np.array([object()])}), {}, ("object",)),
    "no mapping": (InvalidShapeError, ("infer", X), {"model": "m"}, ("infer",)),
    "lane": (InvalidParameterError, ("fft", X), {"lane": "urgent"}, ("lane", "urgent", "realtime")),
    "timeout 0": (InvalidParameterError, ("fft", X), {"timeout": 0}, ("timeout", "0")),
    "timeout nan": (InvalidParameterError, ("fft", X), {"timeout": float("nan")}, ("timeout", "nan")),
    "no timeout": (InvalidParameterError, ("fft", X), {"timeout": None}, ("timeout", "None")),
    "model for fft": (InvalidParameterError, ("fft", X), {"model": "m"}, ("model",)),
    "no model": (InvalidParameterError, ("infer", {"x": X}), {}, ("model",)),
    "model name": (InvalidParameterError, ("infer", {"x": X}), {"model": "a.b"}, ("model", "a.b")),
}


@pytest.mark.parametrize(("error", "given", "options", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_bad_input_is_refused_before_it_is_sent(
    fleet: AsyncFleet,
    error: type[Exception],
    given: tuple[Any, ...],
    options: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    with pytest.raises(error) as refused:
        await fleet.call(*given, **options)
    assert type(refused.value) is error
    assert refused.value.engine is None, "a worker said it"
    for word in words:
        assert word in str(refused.value)


async def test_equal_parameters_of_another_type_are_not_taken_from_the_cache(fleet: AsyncFleet) -> None:
    for _ in range(3):
        await fleet.call("fft", X, {"n": 1})
    for other in (True, 1.5, "1", [1], {"n": 1}):
        with pytest.raises(InvalidParameterError):
            await fleet.call("fft", X, {"n": other})


async def test_requests_with_parameters_like_others_have_their_own(fleet: AsyncFleet) -> None:
    x = np.arange(64.0)
    for _ in range(3):
        for cutoff in ([0.2, 0.3], [0.2, 0.4], [0.1, 0.3]):
            expected = scipy.signal.sosfilt(scipy.signal.butter(2, cutoff, "bandpass", output="sos"), x)
            answer = await fleet.call("filter", x, {"cutoff": cutoff, "btype": "bandpass", "order": 2})
            np.testing.assert_allclose(answer["y"], expected, atol=1e-9)


async def test_an_unknown_model_is_named(fleet: AsyncFleet) -> None:
    with pytest.raises(UnknownModelError, match="nobody-knows-it"):
        await fleet.infer("nobody-knows-it", {"x": X})
    assert fleet.statistics().errors == {"unknown_model": 1}


@pytest.mark.usefixtures("without_arena")
async def test_a_payload_over_the_limit_is_refused_with_both_sizes_and_the_connection_stays(fleet: AsyncFleet) -> None:
    large = np.zeros(fleet.max_payload // 8)
    with pytest.raises(PayloadTooLargeError) as refused:
        await fleet.call("echo", {"x": large})
    assert refused.value.limit == fleet.max_payload
    assert refused.value.size is not None
    assert refused.value.size > large.nbytes
    # The largest frames that the broker takes, byte by byte, headers included.
    for missing in range(0, 2048, 64):
        try:
            await fleet.call("echo", {"x": np.zeros(fleet.max_payload - missing, np.uint8)})
        except PayloadTooLargeError:
            continue  # our request is too large, or, once it fits, the reply with its longer headers
        else:
            break
    else:
        pytest.fail("nothing close to the limit was taken")
    assert fleet.state == "connected"
    assert (await fleet.call("echo", {"x": X}))["x"].tolist() == X.tolist()


async def test_the_deadline_ends_a_call(fleet: AsyncFleet) -> None:
    with pytest.raises(DeadlineExceededError) as late:
        await fleet.call("echo", {"x": X}, {"delay": 30.0}, timeout=0.1)
    assert isinstance(late.value, TimeoutError)
    assert fleet.statistics().errors == {"deadline_exceeded": 1}


async def test_cancelling_the_task_cancels_the_work(fleet: AsyncFleet) -> None:
    # Were the cancelled calls still running, they would hold every executor for a minute.
    tasks = [asyncio.ensure_future(fleet.call("echo", {"x": X}, {"delay": 60.0}, timeout=120)) for _ in range(32)]
    await fleet.call("fft", X, lane="realtime")
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
    assert (await fleet.call("echo", {"x": X}, timeout=20))["x"].tolist() == X.tolist()
    assert fleet.statistics().errors == {"cancelled": 32}


async def test_every_lane_is_served(fleet: AsyncFleet, engine: str) -> None:
    for lane in ("realtime", "critical", "high", "normal", "low"):
        assert (await fleet.call("echo", {"x": X}, lane=lane)).engine == engine


def test_cancellation_by_a_worker_has_a_class_of_its_own() -> None:
    assert CallCancelledError.kind == "cancelled"
