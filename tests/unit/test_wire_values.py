"""Parameters, subjects, headers: values that the golden vectors do not reach."""

from __future__ import annotations

import numpy as np
import pytest

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire import contract, header, subject
from npufleet.wire.contract import Operation, Parameter, TensorRow
from npufleet.wire.subject import Subject


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("integer", 4, 4),
        ("integer", 4.0, 4),
        ("integer", -0.0, 0),
        ("integer", np.uint8(4), 4),
        ("integer", 2.0**53, 2**53),
        ("number", 4, 4.0),
        ("number", np.float32(0.5), 0.5),
        ("number", np.array(0.5), 0.5),
        ("string", np.str_("a"), "a"),
        ("boolean", np.False_, False),
    ],
)
def test_parameter_values_become_plain(kind: str, value: object, expected: object) -> None:
    found = Parameter("p", kind, "").check(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("integer", True),
        ("integer", 4.5),
        ("integer", 2.0**54),
        ("integer", float("inf")),
        ("integer", "4"),
        ("integer", None),
        ("integer", np.array([4])),
        ("number", float("nan")),
        ("number", -float("inf")),
        ("number", False),
        ("number", 10**400),
        ("number", 1j),
        ("string", b"a"),
        ("string", 1),
        ("boolean", 1),
        ("boolean", "true"),
        ("boolean", None),
    ],
)
def test_parameter_values_of_another_type(kind: str, value: object) -> None:
    with pytest.raises(InvalidParameterError, match="parameter 'p' is "):
        Parameter("p", kind, "").check(value)


@pytest.mark.parametrize(("value", "allowed"), [(0.0, True), (2.5, True), (-1e-300, False), (2.5000001, False)])
def test_limits_belong_to_the_range(value: float, allowed: bool) -> None:
    row = Parameter("p", "number", "", minimum=0.0, maximum=2.5)
    if allowed:
        assert row.check(value) == value
    else:
        with pytest.raises(InvalidParameterError, match=r"allowed: 0 to 2\.5"):
            row.check(value)


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        Parameter("p", "integer", "", minimum=1, maximum=2).check("9" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("prefix", ["npu", "acme.npu", "a-b_c"])
def test_another_prefix(prefix: str) -> None:
    found = Subject("infer", "mlp", "fallback", "low")
    assert Subject.parse(found.format(prefix), prefix) == found


@pytest.mark.parametrize("prefix", ["", ".", "npu.", "a..b", "a b", "*", "npu.>", "a\n"])
def test_prefixes_that_are_no_subject(prefix: str) -> None:
    with pytest.raises(InvalidParameterError):
        Subject("fft").format(prefix)


@pytest.mark.parametrize(
    "parts",
    [
        {"operation": "FFT"},
        {"operation": "fft", "lane": "urgent"},
        {"operation": "fft", "route": "job"},
        {"operation": "fft", "model": "mlp"},
        {"operation": "infer"},
        {"operation": "infer", "model": "../etc"},
    ],
)
def test_subjects_that_cannot_be_written(parts: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterError):
        Subject(**parts).format()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("_INBOX.client.7", "client.7"),
        ("_INBOX_user.client.7", "client.7"),
        ("a.b._INBOX.client.7", "client.7"),
        ("client.7", None),
        ("7", None),
        ("", None),
        ("_INBOX..7", None),
        ("_INBOX.client.", None),
    ],
)
def test_call_id(reply: str, expected: str | None) -> None:
    assert subject.call_id(reply) == expected


def test_timing() -> None:
    timing = header.Timing(3, 1, 0, 12)
    assert str(timing) == "queued=3;fetching=1;batching=0;executing=12"
    assert header.Timing.parse(str(timing)) == timing
    assert header.Timing.parse("executing=5;cooling=9;") == header.Timing(executing=5)
    assert header.Timing.parse("") == header.Timing()


@pytest.mark.parametrize(
    "text", ["queued", "queued=", "queued=-1", "queued=1.5", "queued=٣", "queued=18446744073709551616"]
)
def test_timing_that_is_no_number(text: str) -> None:
    with pytest.raises(InvalidParameterError):
        header.Timing.parse(text)


def test_one_line() -> None:
    assert header.one_line("a\r\n b\x00\tc ") == "a b c"
    assert len(header.one_line("x" * 5000)) == 1000


def test_a_required_parameter_must_be_given() -> None:
    row = Operation("window", "", False, (), None, {"n": Parameter("n", "integer", "", 1, 9, required=True)})
    assert row.check({}, {"n": 4}) == {"n": 4}
    for defaults in (True, False):
        with pytest.raises(InvalidParameterError, match="parameter 'n' is missing for window; allowed: 1 to 9"):
            row.check_params({}, defaults=defaults)


def row_of(*inputs: TensorRow) -> Operation:
    return Operation("wavelet", "", False, inputs, None, {})


NUMBERED = TensorRow("cD", ("F64",), "", minimum_rank=1, optional=True, numbered=True)


@pytest.mark.parametrize("name", ["cD0", "cD1", "cD10", "cD9999"])
def test_a_numbered_tensor_may_be_any_of_them(name: str) -> None:
    row_of(NUMBERED).check_inputs({name: ("F64", (3,)), "cD2": ("F64", (3,))})
    for described in (("F32", (3,)), ("F64", ())):
        with pytest.raises(InvalidShapeError, match=f"tensor '{name}' has"):
            row_of(NUMBERED).check_inputs({name: described})


@pytest.mark.parametrize("name", ["cD", "cD01", "cD-1", "cD+1", "cD1x", "cD\u0661", "cD10000", "cA1", "1", "xcD1", ""])
def test_a_name_without_a_number_is_no_numbered_tensor(name: str) -> None:
    with pytest.raises(InvalidShapeError, match=r"unknown tensor .* for wavelet; allowed: cD<n>"):
        row_of(NUMBERED).check_inputs({name: ("F64", (3,))})


def test_a_bare_array_is_the_first_input_unless_another_is_needed() -> None:
    x, y = TensorRow("x", ("F64",), ""), TensorRow("y", ("F64",), "")
    assert row_of(x).main_input is x
    assert row_of(x, NUMBERED).main_input is x
    assert row_of(x, y).main_input is None
    assert row_of().main_input is None
    assert contract.operation("filter").main_output is contract.operation("filter").outputs[0]
    assert contract.operation("spectral").main_output is None
