"""Large inputs that a model reads where the caller put them: the caller's memory stays as it is, and is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import Fleet
from tests.conftest import rust_worker_missing
from tests.support.worker_stand import Broker, primary_worker

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH = 1 << 18
"""A row of 1 MiB."""


def write(path: Path) -> Path:
    """Write a model whose first node could work in the memory of its input: y = relu(x), first = relu(x)[0]."""
    import openvino
    from openvino import opset13 as op

    x = op.parameter([1, WIDTH], np.float32, name="x")
    y = op.relu(x)
    first = op.slice(y, op.constant([0]), op.constant([1]), op.constant([1]), op.constant([1]))
    for node, name in ((x, "x"), (y, "y"), (first, "first")):
        node.output(0).set_names({name})
    openvino.save_model(openvino.Model([y, first], [x], "relu"), path, compress_to_fp16=False)
    return path


def test_inputs_in_shared_memory_are_read_and_left_alone(tmp_path: Path) -> None:
    if why := rust_worker_missing():
        pytest.skip(why)
    random = np.random.default_rng(4)
    with (
        Broker() as broker,
        primary_worker(broker.url, "rust", "--cache-dir", str(tmp_path)),
        Fleet.connect(broker.url) as fleet,
    ):
        fleet.models.add("relu", write(tmp_path / "relu.xml"), max_batch=1, precision="f32")

        def check(x: NDArray[Any]) -> None:
            before = x.copy()
            outputs = fleet.infer("relu", {"x": x})
            assert np.array_equal(x, before)
            assert np.array_equal(outputs["y"], np.maximum(before, 0))
            assert outputs["first"] == max(before[0, 0], 0)

        for _ in range(3):
            # Each in a slot that held another one's; those that the fleet did not make are copied to one.
            check(fleet.asarray(random.standard_normal((1, WIDTH), np.float32)))
            check(random.standard_normal((1, WIDTH), np.float32))
