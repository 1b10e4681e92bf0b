"""Frames: what goes in comes out, nothing is copied on the way out, limits hold on both sides."""

from __future__ import annotations

import mmap
import struct
from typing import Any

import numpy as np
import pytest

from npufleet.errors import InvalidFrameError, InvalidParameterError, InvalidShapeError
from npufleet.wire import contract, frame, layout
from npufleet.wire.dtype import DTYPES


def round_trip(value: object) -> Any:
    return frame.decode(frame.encode({"x": value}))[0]["x"]


@pytest.mark.parametrize("word", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 0, 2), (2, 3, 4)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_dtype_shape_and_byte_order(word: str, shape: tuple[int, ...], order: str) -> None:
    dtype = DTYPES[word].numpy
    array = (np.arange(np.prod(shape)) % 2).astype(dtype.newbyteorder(order)).reshape(shape)
    found = round_trip(array)
    assert (found.dtype, found.shape) == (dtype, shape)
    np.testing.assert_array_equal(found, array)


def test_strided_arrays() -> None:
    base = np.arange(24.0).reshape(2, 3, 4)
    for array in (base[:, ::-1], base.T, base[..., 1], np.asfortranarray(base), np.broadcast_to(base[0], (2, 3, 4))):
        np.testing.assert_array_equal(round_trip(array), array)
    np.testing.assert_array_equal(round_trip(base.astype(">c16")[:, ::2]), base[:, ::2])
    mixed = {"a": base.T, "b": np.arange(3, dtype=">i4")[::-1], "c": base}
    found, _ = frame.decode(frame.encode(mixed))
    for name, array in mixed.items():
        np.testing.assert_array_equal(found[name], array)


def test_nan_payloads_and_infinities_pass_through_unchanged() -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF4000000000001, 0x7FF0000000000000, 0x8000000000000000], np.uint64)
    assert round_trip(bits.view(np.float64)).tobytes() == bits.tobytes()
    swapped = bits.byteswap().view(">f8")
    assert round_trip(swapped).tobytes() == bits.tobytes()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_decoding_copies_nothing_and_gives_nothing_to_write_to(kind: type) -> None:
    content = kind(frame.encode({"x": np.arange(1000.0), "z": np.ones(3, complex)}))
    tensors, _ = frame.decode(content)
    area = np.frombuffer(content, np.uint8)
    for array in tensors.values():
        assert np.shares_memory(array, area)
        assert not array.flags.owndata
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_decoding_from_a_mapping() -> None:
    content = frame.encode({"x": np.arange(8.0)})
    with mmap.mmap(-1, len(content)) as mapped:
        mapped[:] = content
        view = memoryview(mapped)
        tensors, _ = frame.decode(view)
        np.testing.assert_array_equal(tensors["x"], np.arange(8.0))
        del tensors, view


def test_callers_own_the_parameters_they_get() -> None:
    content = frame.encode({}, {"flat": 1, "nested": {"list": [1]}})
    first = frame.decode(content)[1]
    first["nested"]["list"].append(2)
    first["flat"] = 2
    assert frame.decode(content)[1] == {"flat": 1, "nested": {"list": [1]}}
    content = frame.encode({}, {"flat": 1})
    frame.decode(content)[1]["flat"] = 2
    assert frame.decode(content)[1] == {"flat": 1}


def test_a_known_header_with_another_length_is_refused() -> None:
    content = frame.encode({"x": np.arange(8.0)})
    frame.decode(content)
    for wrong in (content[:-1], content + b"\0"):
        with pytest.raises(InvalidFrameError):
            frame.decode(wrong)
    frame.decode(content)


def test_widest_elements_first() -> None:
    arrays = {f"{i}": np.zeros(3, dtype) for i, dtype in enumerate(("u1", "f8", "f2", "c16", "f4", "f8"))}
    tensors, _ = frame.decode(frame.encode(arrays))
    assert list(tensors) == ["3", "1", "5", "4", "2", "0"]
    assert all(array.flags.aligned for array in tensors.values())


def test_caches_are_bounded() -> None:
    for n in range(2 * frame.CACHE_ENTRIES):
        frame.decode(frame.encode({"x": np.zeros(0)}, {"n": n}))
    assert len(frame._PLANS) <= frame.CACHE_ENTRIES
    assert len(frame._READERS) <= frame.CACHE_ENTRIES
    assert frame.decode(frame.encode({"x": np.zeros(0)}, {"n": 1}))[1] == {"n": 1}


def test_header_limit_on_both_sides() -> None:
    room = contract.HEADER_LIMIT - len(frame.encode({}, {"note": ""})) + layout.PREFIX
    longest = frame.encode({}, {"note": "-" * room})
    assert layout.header_end(longest) == layout.PREFIX + contract.HEADER_LIMIT
    assert len(frame.decode(longest)[1]["note"]) == room
    with pytest.raises(InvalidParameterError, match="65536"):
        frame.encode({}, {"note": "-" * (room + 8)})
    text = b"{}".ljust(contract.HEADER_LIMIT + 8)
    with pytest.raises(InvalidFrameError, match="65536"):
        frame.decode(struct.pack("<Q", len(text)) + text)


def test_tensor_limits_when_encoding() -> None:
    frame.encode({f"{i}": np.zeros(1) for i in range(contract.TENSOR_LIMIT)})
    with pytest.raises(InvalidShapeError, match="65 tensors"):
        frame.encode({f"{i}": np.zeros(1) for i in range(contract.TENSOR_LIMIT + 1)})
    frame.encode({"x": np.zeros((1,) * 8)})
    frame.encode({"x": np.zeros((1,) * 7, complex)})
    with pytest.raises(InvalidShapeError, match="'x'"):
        frame.encode({"x": np.zeros((1,) * 9)})
    with pytest.raises(InvalidShapeError, match="'x'"):
        frame.encode({"x": np.zeros((1,) * 8, complex)})


@pytest.mark.parametrize("name", ["", "n" * 129, "ß" * 65, "__metadata__", "\ud800", 1, None])
def test_names_that_no_frame_can_hold(name: Any) -> None:
    with pytest.raises(InvalidShapeError):
        frame.encode({name: np.zeros(1)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"x", "\ud800", 1j])
def test_parameters_that_are_no_json(value: object) -> None:
    with pytest.raises(InvalidParameterError):
        frame.encode({}, {"value": value})


def test_dimensions_that_numpy_cannot_hold() -> None:
    for shape in ([0, 2**62, 2**62], [2**63, 0]):
        row = f'{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}'.encode()
        row += b" " * (-len(row) % 8)
        with pytest.raises(InvalidFrameError):
            frame.decode(struct.pack("<Q", len(row)) + row)
