"""Requests: refused before anything is sent, the same frame from the cache as without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from npufleet.errors import InvalidParameterError, InvalidShapeError, PayloadTooLargeError, UnknownOperationError
from npufleet.wire import contract, frame, prepare

FFT = contract.operation("fft")
ECHO = contract.operation("echo")
X = np.arange(8.0)


def test_one_array_where_one_input_is_declared() -> None:
    expected = frame.encode({"x": X}, {"n": 4})
    for value in (X, X.tolist(), memoryview(X), {"x": X}):
        assert prepare.prepare(FFT, value, {"n": 4}) == expected
        assert prepare.prepare(FFT, value, {"n": 4}) == expected


def test_only_what_was_given_is_sent() -> None:
    assert frame.decode(prepare.prepare(FFT, X))[1] == {}
    given = {"n": np.int32(4), "axis": 0.0, "norm": np.str_("ortho"), "return_onesided": np.True_}
    sent = frame.decode(prepare.prepare(FFT, X, given))[1]
    assert sent == {"n": 4, "axis": 0, "norm": "ortho", "return_onesided": True}
    assert [type(value) for value in sent.values()] == [int, int, str, bool]


def test_new_data_in_a_known_layout() -> None:
    for seed in range(3):
        values = np.random.default_rng(seed).random((2, 8))
        tensors, _ = frame.decode(prepare.prepare(FFT, values))
        np.testing.assert_array_equal(tensors["x"], values)
        tensors, _ = frame.decode(prepare.prepare(FFT, values.astype(">f8").T))
        np.testing.assert_array_equal(tensors["x"], values.T)


def test_equal_values_of_other_types_are_not_mistaken_for_each_other() -> None:
    prepare.prepare(FFT, X, {"n": 1, "return_onesided": True})
    with pytest.raises(InvalidParameterError):
        prepare.prepare(FFT, X, {"n": True, "return_onesided": True})
    with pytest.raises(InvalidParameterError):
        prepare.prepare(FFT, X, {"n": 1, "return_onesided": 1})
    prepare.prepare(ECHO, {"x": X}, {"delay": 1})
    with pytest.raises(InvalidParameterError):
        prepare.prepare(ECHO, {"x": X}, {"delay": True})


def test_operations_and_names_are_not_mistaken_for_each_other() -> None:
    assert prepare.prepare(ECHO, {"x": X}) == prepare.prepare(FFT, {"x": X})
    prepare.prepare(ECHO, {"y": X})
    with pytest.raises(InvalidShapeError):
        prepare.prepare(FFT, {"y": X})
    with pytest.raises(InvalidShapeError):
        prepare.prepare(FFT, {"x": X, "y": X})


def test_an_invalid_request_stays_invalid() -> None:
    for _ in range(3):
        with pytest.raises(InvalidParameterError):
            prepare.prepare(FFT, X, {"n": 0})


@pytest.mark.parametrize(
    ("tensors", "params", "error", "words"),
    [
        (X, {"norm": "foo"}, InvalidParameterError, "parameter 'norm' is 'foo'; allowed: backward, ortho, forward"),
        (X, {"n": 0}, InvalidParameterError, "parameter 'n' is 0; allowed: 1 to 16777216"),
        (X, {"n": [1]}, InvalidParameterError, "parameter 'n'"),
        (X, {"n": float("nan")}, InvalidParameterError, "parameter 'n'"),
        (
            X,
            {"foo": 1},
            InvalidParameterError,
            "unknown parameter 'foo' for fft; allowed: n, axis, norm, return_onesided",
        ),
        (
            np.zeros(3, np.int32),
            {},
            InvalidShapeError,
            "tensor 'x' has dtype int32; allowed: float16, float32, float64, complex64, complex128",
        ),
        (1.0, {}, InvalidShapeError, "tensor 'x' has 0 dimensions; allowed: at least 1"),
        ({}, {}, InvalidShapeError, "tensor 'x' is missing for fft"),
        ({"x": X, "z": X}, {}, InvalidShapeError, "unknown tensor 'z' for fft; allowed: x"),
        (X, {"axis": 1}, InvalidParameterError, "parameter 'axis' is 1; allowed: -1 to 0"),
        (X + 0j, {"return_onesided": True}, InvalidParameterError, "parameter 'return_onesided' is true"),
        (np.zeros((2, 0)), {}, InvalidShapeError, "tensor 'x' has 0 samples along axis -1"),
        (np.zeros((4096, 1)), {"n": 16777216}, PayloadTooLargeError, "allowed: 1073741824"),
    ],
)
def test_refused_naming_field_value_and_what_is_allowed(
    tensors: object, params: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        prepare.prepare(FFT, tensors, params)
    assert words in str(caught.value)


def test_many_inputs_need_names() -> None:
    with pytest.raises(InvalidShapeError, match="infer"):
        prepare.prepare(contract.operation("infer"), X)


def test_a_bare_array_is_x_where_any_names_are_taken() -> None:
    assert prepare.prepare(ECHO, X) == prepare.prepare(ECHO, {"x": X})


def test_unknown_operation() -> None:
    with pytest.raises(UnknownOperationError, match="unknown operation 'foo'; allowed: echo, fft"):
        contract.operation("foo")


def test_the_cache_is_bounded() -> None:
    for n in range(1, 2 * frame.CACHE_ENTRIES):
        prepare.prepare(FFT, X, {"n": n})
    assert len(prepare._PLANS) <= frame.CACHE_ENTRIES
