"""Whatever the bytes are, decoding gives a frame or says that there is none."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import SafetensorError, deserialize

from npufleet.errors import InvalidFrameError, InvalidParameterError
from npufleet.wire import frame
from npufleet.wire.dtype import DTYPES
from tests.contract.vectors import load

SEEDS = [bytes.fromhex(case["frame_hex"]) for group in ("valid", "invalid") for case in load("frames")[group]]

DTYPE = st.sampled_from([row.numpy.newbyteorder(order) for row in DTYPES.values() for order in "<>"])
SHAPE = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ARRAY = DTYPE.flatmap(lambda dtype: arrays.arrays(dtype, SHAPE))
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32).filter(lambda n: n != "__metadata__")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FINITE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
NESTED = st.lists(FINITE, max_size=3) | st.dictionaries(TEXT, FINITE, max_size=3)
PARAMS = st.dictionaries(TEXT, FINITE | NESTED, max_size=4)
# A busy machine makes an example slow, which says nothing about the example.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def decoded(content: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The frame, or None when it is refused in one of the two ways that are allowed."""
    try:
        return frame.decode(content)
    except (InvalidFrameError, InvalidParameterError):
        return None


@patient
@given(st.dictionaries(NAME, ARRAY, max_size=4), PARAMS)
def test_round_trip(tensors: dict[str, Any], params: dict[str, Any]) -> None:
    content = frame.encode(tensors, params)
    found, found_params = frame.decode(content)
    assert found_params == params
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        assert (found[name].dtype, found[name].shape) == (little.dtype, little.shape)
        assert found[name].tobytes() == little.tobytes()


@patient
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    decoded(content)


@patient
@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_header(header: bytes, extra: int) -> None:
    header = b"{" + header
    header += b" " * (-len(header) % 8)
    decoded(struct.pack("<Q", len(header)) + header + bytes(8 * extra))


@settings(patient, max_examples=300)
@given(st.sampled_from(SEEDS), st.data())
def test_mutated_frames(seed: bytes, data: st.DataObject) -> None:
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        if not content:
            break
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"])):
            case "flip":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 16))]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case _:
                content[at:at] = content[at : at + 16]
    found = decoded(bytes(content))
    if found is not None:
        # Accepted means usable: every tensor can be read, and encoded again.
        tensors, params = found
        again, params_again = frame.decode(frame.encode(tensors, params))
        assert {n: a.tobytes() for n, a in again.items()} == {n: a.tobytes() for n, a in tensors.items()}
        assert params_again == params


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPES, "BF16", "X"]),
        "shape": st.lists(st.integers(-1, 4) | st.sampled_from([2**31, 2**62, 2**64]), max_size=9),
        "data_offsets": st.lists(st.integers(-8, 64) | st.just(2**63), min_size=1, max_size=3),
    }
)


@settings(patient, max_examples=300)
@given(st.dictionaries(st.sampled_from("abc"), ENTRY, max_size=3), st.integers(0, 64))
def test_nothing_is_accepted_that_safetensors_refuses(header: dict[str, Any], size: int) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    content = struct.pack("<Q", len(text)) + text + bytes(size)
    found = decoded(content)
    if found is None:
        return
    try:
        theirs = dict(deserialize(content))
    except SafetensorError as error:
        raise AssertionError(f"accepted although safetensors says {error}") from error
    assert theirs.keys() == found[0].keys()
    for name, tensor in theirs.items():
        assert bytes(tensor["data"]) == np.ascontiguousarray(found[0][name]).tobytes()
