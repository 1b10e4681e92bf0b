"""Write the models that the inference tests run, and what OpenVINO's own Python API answers to them.

`python generate.py` writes beside itself; `python generate.py --bench FOLDER` writes the 64-128-128-10 model of the
benchmarks there instead. Models are seeded, so that a second run changes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import struct
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from safetensors.numpy import save

HERE = Path(__file__).parent
Array = np.ndarray


def parameter(name: str, shape: list[int], dtype: type) -> ov.Node:
    """An input port with a tensor name; -1 is an open dimension."""
    node = ops.parameter(shape, dtype, name=name)
    node.output(0).set_names({name})
    return node


def result(name: str, node: ov.Node) -> ov.Node:
    """An output port with a tensor name."""
    node.output(0).set_names({name})
    return ops.result(node)


def perceptron(sizes: list[int], rows: int) -> ov.Model:
    """Layers of relu(x w + b), the last without relu: x[rows, sizes[0]] -> y[rows, sizes[-1]]."""
    random = np.random.default_rng(1)
    x = node = parameter("x", [rows, sizes[0]], np.float32)
    for layer, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        weights = (random.standard_normal((wide, narrow)) / wide**0.5).astype(np.float32)
        bias = random.standard_normal(narrow).astype(np.float32)
        node = ops.add(ops.matmul(node, ops.constant(weights), False, False), ops.constant(bias))
        if layer < len(sizes) - 2:
            node = ops.relu(node)
    return ov.Model([result("y", node)], [x], "perceptron")


def two() -> ov.Model:
    """Two inputs, two outputs: left + right, left * right."""
    left, right = (parameter(name, [-1, 4], np.float32) for name in ("left", "right"))
    outputs = [result("sum", ops.add(left, right)), result("product", ops.multiply(left, right))]
    return ov.Model(outputs, [left, right], "two")


def types() -> ov.Model:
    """One port of each kind of element: half + 1, 2 * long, byte + 1, not flag."""
    half, long = parameter("half", [-1, 2], np.float16), parameter("long", [-1, 3], np.int64)
    byte, flag = parameter("byte", [-1, 5], np.uint8), parameter("flag", [-1, 1], np.bool_)
    outputs = [
        result("half_out", ops.add(half, ops.constant(np.float16(1)))),
        result("long_out", ops.multiply(long, ops.constant(np.int64(2)))),
        result("byte_out", ops.add(byte, ops.constant(np.uint8(1)))),
        result("flag_out", ops.logical_not(flag)),
    ]
    return ov.Model(outputs, [half, long, byte, flag], "types")


def fragile() -> ov.Model:
    """Copies x[?, 2], but fails at run time when 12 is not divisible by the largest value of x plus one."""
    x = parameter("x", [-1, 2], np.int64)
    axes = ops.constant(np.array([0, 1], np.int64))
    rows = ops.add(ops.reduce_max(x, axes, keep_dims=False), ops.constant(np.int64(1)))
    pattern = ops.concat([ops.unsqueeze(rows, ops.constant(np.int64(0))), ops.constant(np.array([-1], np.int64))], 0)
    grid = ops.reshape(ops.constant(np.zeros(12, np.int64)), pattern, False)
    return ov.Model([result("y", ops.add(x, ops.reduce_sum(grid, axes, keep_dims=False)))], [x], "fragile")


def sequence() -> ov.Model:
    """Subtract the mean of x over the first dimension: rows are not independent."""
    x = parameter("x", [-1, 3], np.float32)
    mean = ops.reduce_mean(x, ops.constant(np.array([0], np.int64)), keep_dims=True)
    return ov.Model([result("y", ops.subtract(x, mean))], [x], "sequence")


def ragged() -> ov.Model:
    """Softmax over an open last dimension: x[?, ?]."""
    x = parameter("x", [-1, -1], np.float32)
    return ov.Model([result("y", ops.softmax(x, 1))], [x], "ragged")


def state() -> ov.Model:
    """Fixed shapes of different first dimensions, as of a recurrent cell: y = x + sum of h; h_next = 2 h."""
    x, h = parameter("x", [1, 4], np.float32), parameter("h", [2, 1, 4], np.float32)
    y = ops.add(x, ops.reduce_sum(h, ops.constant(np.array([0], np.int64)), keep_dims=False))
    outputs = [result("y", y), result("h_next", ops.multiply(h, ops.constant(np.float32(2))))]
    return ov.Model(outputs, [x, h], "state")


def frozen() -> ov.Model:
    """One row whose shape is written into the model: it cannot be batched."""
    x = parameter("x", [1, 4], np.float32)
    y = ops.reshape(x, ops.constant(np.array([1, 2, 2], np.int64)), False)
    return ov.Model([result("y", y)], [x], "frozen")


def scatter() -> ov.Model:
    """Fixed shapes, but an inference fails where x is not an index of y: y[x] = 1."""
    x = parameter("x", [1], np.int64)
    ones, zeros = ops.constant(np.ones(1, np.float32)), ops.constant(np.zeros(4, np.float32))
    return ov.Model([result("y", ops.scatter_update(zeros, x, ones, ops.constant(np.int64(0))))], [x], "scatter")


def field(number: int, value: int | bytes | str) -> bytes:
    """One protobuf field: varint or length-delimited, which is all that ONNX needs here."""

    def varint(value: int) -> bytes:
        data = bytearray()
        while value > 127:
            data.append(value & 127 | 128)
            value >>= 7
        return bytes([*data, value])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx() -> bytes:
    """An ONNX file, written by hand since the onnx package is not needed for more: scores = features w."""

    def port(name: str, width: int) -> bytes:
        dims = field(1, field(2, "rows")) + field(1, field(1, width))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    weights = np.arange(12, dtype=np.float32).reshape(4, 3) / 10
    tensor = field(1, 4) + field(1, 3) + field(2, 1) + field(8, "w") + field(9, weights.tobytes())
    node = field(1, "features") + field(1, "w") + field(2, "scores") + field(4, "MatMul")
    graph = field(1, node) + field(2, "linear") + field(5, tensor)
    graph += field(11, port("features", 4)) + field(12, port("scores", 3))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def inputs_of(name: str) -> dict[str, Array]:
    """The golden input of a model."""
    random = np.random.default_rng(2)

    def floats(*shape: int) -> Array:
        return random.standard_normal(shape).astype(np.float32)

    return {
        "perceptron": lambda: {"x": floats(13, 8)},
        "static": lambda: {"x": floats(4, 8)},
        "single": lambda: {"x": floats(1, 8)},
        "two": lambda: {"left": floats(5, 4), "right": floats(5, 4)},
        "types": lambda: {
            "half": floats(3, 2).astype(np.float16),
            "long": random.integers(-(2**60), 2**60, (3, 3)),
            "byte": random.integers(0, 256, (3, 5)).astype(np.uint8),
            "flag": np.array([[True], [False], [True]]),
        },
        "fragile": lambda: {"x": random.integers(0, 4, (6, 2))},
        "sequence": lambda: {"x": floats(4, 3)},
        "ragged": lambda: {"x": floats(3, 7)},
        "frozen": lambda: {"x": floats(1, 4)},
        "scatter": lambda: {"x": np.array([2])},
        "state": lambda: {"x": floats(1, 4), "h": floats(2, 1, 4)},
        "linear": lambda: {"features": floats(9, 4)},
    }[name]()


def write_golden(core: ov.Core, path: Path) -> None:
    """Run a model in Python and keep what went in and came out, as frames."""
    inputs = inputs_of(path.stem)
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = compiled(inputs)
    (HERE / f"{path.stem}.in.safetensors").write_bytes(save(inputs))
    named = {port.any_name: np.ascontiguousarray(outputs[port]) for port in compiled.outputs}
    (HERE / f"{path.stem}.out.safetensors").write_bytes(save(named))


def save_ir(model: ov.Model, folder: Path, name: str) -> Path:
    """Write an IR without the path and time that would change it at every run."""
    path = folder / f"{name}.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def main() -> None:
    """Write everything."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bench", type=Path, help="write the benchmark model into this folder instead")
    folder: Path | None = options.parse_args().bench
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        print(save_ir(perceptron([64, 128, 128, 10], -1), folder, "mlp"))
        return
    core = ov.Core()
    models = {
        "perceptron": perceptron([8, 16, 3], -1),
        "static": perceptron([8, 16, 3], 4),
        "single": perceptron([8, 16, 3], 1),
        "two": two(),
        "types": types(),
        "fragile": fragile(),
        "sequence": sequence(),
        "ragged": ragged(),
        "frozen": frozen(),
        "scatter": scatter(),
        "state": state(),
    }
    paths = [save_ir(model, HERE, name) for name, model in models.items()]
    linear = HERE / "linear.onnx"
    linear.write_bytes(onnx())
    for path in [*paths, linear]:
        write_golden(core, path)
    whole = (HERE / "perceptron.xml").read_bytes()
    (HERE / "truncated.xml").write_bytes(whole[: len(whole) // 2])
    (HERE / "truncated.onnx").write_bytes(linear.read_bytes()[:60])
    (HERE / "weightless.xml").write_bytes(whole)
    (HERE / "weightless.bin").write_bytes(struct.pack("<f", 1.0))


if __name__ == "__main__":
    main()
