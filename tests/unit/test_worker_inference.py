"""OpenVINO in the Python worker: ports, rows, batches, devices, and the fixed shapes that an NPU needs."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest

from npufleet.errors import InternalError, InvalidShapeError, UnavailableError, UnsupportedError
from npufleet.worker import devices
from npufleet.worker.budget import Budget
from npufleet.worker.devices import Runtime, brief
from npufleet.worker.inference import Model, ModelSettings, load
from tests.support.model_stand import linear


@pytest.fixture(scope="module")
def runtime():
    return Runtime(("NPU", "GPU", "CPU"))


def settings(max_batch=8, **more):
    return ModelSettings(name="m", version=1, devices=("NPU", "GPU", "CPU"), max_batch=max_batch, **more)


def x(rows, value=1.0):
    return {"x": np.full((rows, 4), value, np.float32)}


def test_open_rows_are_batched(runtime):
    model = load(runtime, settings(), linear(1.0))
    assert (model.batches, model.max_batch, model.device) == (True, 8, "CPU")
    results = model.infer([x(1, 1.0), x(3, 2.0), x(2, 3.0)])
    assert [result["y"].tolist() for result in results] == [[[4.0] * 2], [[8.0] * 2] * 3, [[12.0] * 2] * 2]


def test_one_fixed_row_is_opened_where_the_model_allows_it(runtime):
    model = load(runtime, settings(), linear(1.0, rows=1))
    assert (model.batches, model.max_batch) == (True, 8)
    assert model.infer([x(5)])[0]["y"].shape == (5, 2)


def test_as_many_fixed_rows_as_asked_for_stay_fixed(runtime):
    model = load(runtime, settings(max_batch=3), linear(1.0, rows=3))
    assert (model.batches, model.max_batch) == (False, 3)
    assert model.check(x(3)) == 3
    with pytest.raises(InvalidShapeError, match=r"allowed: \[3, 4\]"):
        model.check(x(2))


def test_a_model_whose_rows_cannot_be_opened_is_served_as_it_is(runtime):
    from openvino import opset13 as op

    parameter = op.parameter(openvino.PartialShape([2, 4]), np.float32, name="x")
    flat = op.reshape(parameter, op.constant(np.array([8])), False)
    parameter.output(0).set_names({"x"})
    flat.output(0).set_names({"y"})
    model = _of(runtime, openvino.Model([flat], [parameter], "flat"), max_batch=16)
    assert (model.batches, model.max_batch) == (False, 2)
    assert model.infer([{"x": np.ones((2, 4), np.float32)}])[0]["y"].shape == (8,)


def test_an_npu_gets_one_fixed_shape_for_each_power_of_two(runtime):
    compiled = []

    def compiler(model):
        compiled.append(model.inputs[0].partial_shape[0].get_length())
        return runtime.core.compile_model(model, "CPU")

    files = linear(2.0)
    read = runtime.core.read_model(files["model.xml"], files["model.bin"])
    model = Model(settings(max_batch=6), read, "NPU", compiler)
    assert compiled == [1, 2, 4, 6]
    for rows in range(1, 7):
        assert model.infer([x(rows)])[0]["y"].tolist() == [[8.0, 8.0]] * rows
    assert [result["y"].shape[0] for result in model.infer([x(2), x(1)])] == [2, 1]


def test_threads_share_a_model(runtime):
    model = load(runtime, settings(max_batch=64), linear(1.0))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: model.infer([x(n % 7 + 1, float(n))])[0]["y"], range(200)))
    for n, result in enumerate(results):
        np.testing.assert_array_equal(result, np.full((n % 7 + 1, 2), 4.0 * n))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "tensor 'x' is missing for model 'm'; allowed: x"),
        ({**x(1), "z": np.ones(1)}, "unknown tensor 'z' for model 'm'; allowed: x"),
        ({"x": np.ones((1, 4))}, "tensor 'x' has dtype float64; allowed: float32"),
        ({"x": np.ones((1, 3), np.float32)}, "tensor 'x' has shape [1, 3]; allowed: [1 to 8, 4]"),
        (x(9), "tensor 'x' has shape [9, 4]; allowed: [1 to 8, 4]"),
        (x(0), "tensor 'x' has shape [0, 4]; allowed: [1 to 8, 4]"),
    ],
)
def test_what_does_not_fit_is_named(runtime, tensors, words):
    with pytest.raises(InvalidShapeError) as raised:
        load(runtime, settings(), linear(1.0)).check(tensors)
    assert str(raised.value) == words


def test_garbage_does_not_load(runtime):
    with pytest.raises(InternalError, match=r"does not load: .*CPU: Unable to read the model"):
        load(runtime, settings(), {"model.onnx": b"garbage"})


def test_an_element_type_that_frames_lack_is_unsupported(runtime):
    from openvino import opset13 as op

    parameter = op.parameter(openvino.PartialShape([1]), openvino.Type.string, name="text")
    with pytest.raises(UnsupportedError, match="string"):
        _of(runtime, openvino.Model([parameter], [parameter], "text"), max_batch=1)


def test_a_device_that_is_absent_is_no_substitute(runtime):
    only = ModelSettings(name="m", version=1, devices=("NPU",))
    with pytest.raises(UnavailableError, match="no device for model 'm': NPU: "):
        load(runtime, only, linear(1.0))


def test_the_cache_is_apart_for_each_version_device_and_model(runtime, tmp_path):
    load(runtime, settings(cache_dir=str(tmp_path), digest="d1"), linear(1.0))
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"openvino-{runtime.version}"
    assert list((folder / "CPU" / "d1").iterdir())


def test_without_openvino_every_device_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    runtime = Runtime(("NPU", "CPU"))
    npu, cpu = devices.describe(runtime.devices, {})
    assert (npu["available"], cpu["available"]) == (False, True)
    assert npu["reason"].startswith("no openvino")
    assert cpu["reason"].startswith("for signal operations only: no openvino")
    with pytest.raises(UnavailableError):
        load(runtime, settings(), {})


def test_absent_devices_say_why(runtime):
    for device in runtime.devices:
        assert device.available or device.reason
        assert not device.available or device.reason is None


def test_why_there_is_no_npu(tmp_path):
    assert devices._npu_reason(tmp_path / "accel0") == f"no NPU: {tmp_path / 'accel0'} is absent"
    (tmp_path / "accel0").touch()
    assert devices._npu_reason(tmp_path / "accel0") == "openvino finds no NPU driver"


def test_openvinos_texts_become_one_line():
    text = 'Exception from a.cpp:1:\nException from b.cpp:2:\nCannot load library "/long/way/lib.so": no file\n\n\n'
    assert brief(RuntimeError(text)) == "Cannot load library lib.so: no file"
    assert brief(RuntimeError("")) == "RuntimeError"


def _of(runtime, model, max_batch):
    """Load a model that is built here, through its serialised form."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(model, path, compress_to_fp16=False)
        files = {"model.xml": path.read_bytes(), "model.bin": path.with_suffix(".bin").read_bytes()}
    return load(runtime, settings(max_batch=max_batch), files)


@pytest.mark.parametrize("threads", [1, 2])
def test_values_that_a_model_cannot_take_fail_every_time_and_spoil_nothing(runtime, threads):
    folder = Path(__file__).parents[2] / "workers-rs" / "crates" / "inference" / "tests" / "models"
    files = {f"model.{kind}": (folder / f"fragile.{kind}").read_bytes() for kind in ("xml", "bin")}
    model = load(runtime, settings(budget=Budget(threads)), files)
    # The model fails where 12 is not divisible by the largest value plus one.
    good, bad = ({"x": np.full((1, 2), value, np.float32)} for value in (2.0, 4.0))
    for _ in range(3):
        np.testing.assert_array_equal(model.infer([good])[0]["y"], good["x"])
        with pytest.raises(InternalError):
            model.infer([bad])
