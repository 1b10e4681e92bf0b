"""The public safetensors library as the oracle: it reads what we write, and we read what it writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import deserialize
from safetensors.numpy import load, save

from npufleet.wire import frame
from npufleet.wire.dtype import DTYPES

PLAIN = [row.numpy for word, row in DTYPES.items() if word != "C128"]
ARRAY = st.sampled_from(PLAIN).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3))
)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TENSORS = st.dictionaries(st.text("abcxyz_.0", min_size=1, max_size=9), ARRAY, max_size=5)


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@patient
@given(TENSORS)
def test_it_reads_what_we_write(tensors: dict[str, Any]) -> None:
    same(load(frame.encode(tensors)), tensors)


@patient
@given(TENSORS)
def test_we_read_what_it_writes(tensors: dict[str, Any]) -> None:
    same(frame.decode(save(tensors))[0], tensors)


def test_parameters_travel_as_metadata() -> None:
    params = {"n": 4, "norm": "ortho"}
    content = save({"x": np.ones(2)}, metadata={"params": json.dumps(params), "format": "np"})
    assert frame.decode(content)[1] == params
    header = frame.encode({"x": np.ones(2)}, params)
    assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"] == {
        "params": '{"n":4,"norm":"ortho"}'
    }


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)])
def test_complex128_is_pairs_of_float64_to_it(shape: tuple[int, ...]) -> None:
    values = (np.arange(np.prod(shape)) * (1 - 2j)).reshape(shape)
    pairs = np.stack([values.real, values.imag], axis=-1)
    same(load(frame.encode({"z": values})), {"z": pairs})
    found, _ = frame.decode(save({"z": pairs}, metadata={"complex": '["z"]'}))
    same(found, {"z": values})


def test_one_tensor_gives_the_same_bytes_as_it_does() -> None:
    for dtype in PLAIN:
        array = np.ones((2, 3), dtype)
        assert frame.encode({"x": array}) == save({"x": array})


def test_it_sees_the_same_order() -> None:
    content = frame.encode({"a": np.ones(3, np.uint8), "b": np.ones(2), "c": np.ones(1, np.float32)})
    assert [name for name, _ in sorted(deserialize(content), key=lambda row: row[0])] == ["a", "b", "c"]
