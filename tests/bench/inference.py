"""Models through the fleet against bare OpenVINO, and single rows against the raw echo."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from npufleet import Fleet
from npufleet.demo.sample import package_file
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import OUT, RELEASE, Effort, client, raw_echo, run_json

BATCH = 32
SINGLES_IN_FLIGHT = 256
BATCHES_IN_FLIGHT = 8


def write_mlp(folder: Path) -> Path:
    """Write a 64-128-128-10 multilayer perceptron with random weights as OpenVINO IR; the path of its .xml."""
    import openvino as ov
    from openvino import opset13 as op

    random = np.random.default_rng(7)
    x = op.parameter([-1, 64], np.float32, name="x")
    node = x
    sizes = [64, 128, 128, 10]
    for fan_in, fan_out in itertools.pairwise(sizes):
        weights = (random.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)).astype(np.float32)
        node = op.matmul(node, op.constant(weights), transpose_a=False, transpose_b=False)
        node = op.relu(node) if fan_out != sizes[-1] else op.softmax(node, axis=-1)
    node.output(0).set_names({"y"})
    path = folder / "mlp.xml"
    ov.save_model(ov.Model([node], [x], "mlp"), path, compress_to_fp16=False)
    return path


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of inference."""
    OUT.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    mlp = write_mlp(OUT)
    magika = package_file("magika", "models/standard_v3_3/model.onnx")
    inputs = {
        "mlp": {"x": random.standard_normal((1, 64), np.float32)},
        "mlp batch": {"x": random.standard_normal((BATCH, 64), np.float32)},
        "magika batch": {"bytes": random.integers(0, 256, (BATCH, 2048), np.int32)},
    }
    files = {name: OUT / f"{name.replace(' ', '-')}.npz" for name in inputs}
    for name, path in files.items():
        np.savez(path, **inputs[name])
    with Fleet.local(workers=("rust",)) as fleet:
        fleet.models.add("mlp", mlp, version=1, max_batch=BATCH)
        fleet.models.add("magika", magika, version=1, max_batch=BATCH)
        yield from _singles(fleet.url, files["mlp"], effort)
        yield from _batches(fleet.url, "mlp", mlp, files["mlp batch"], effort)
        yield from _batches(fleet.url, "magika", magika, files["magika batch"], effort)


def _singles(url: str, inputs: Path, effort: Effort) -> Iterator[Figure]:
    options = {"transport": "native", "operation": "infer", "model": "mlp", "inputs": inputs}
    samples = interleave(
        {
            "floor": lambda: raw_echo(url, SINGLES_IN_FLIGHT, effort.seconds),
            "mlp": lambda: client(url, effort.seconds, in_flight=SINGLES_IN_FLIGHT, **options),
        },
        effort.repeats,
    )
    rates = {name: [row["rate"] for row in rows] for name, rows in samples.items()}
    name = f"MLP, single rows awaited, {SINGLES_IN_FLIGHT} in flight"
    yield figure(name, rates["mlp"], "1/s", floor=rates["floor"], target=">= 0.45")
    yield figure(f"{name}, p50", [row["p50_us"] for row in samples["mlp"]], "us")
    yield figure(f"{name}, p99", [row["p99_us"] for row in samples["mlp"]], "us")


def _batches(url: str, model: str, path: Path, inputs: Path, effort: Effort) -> Iterator[Figure]:
    options = {"transport": "native", "operation": "infer", "model": model, "inputs": inputs}
    bare = [RELEASE / "examples" / "bare", path, "--batch", str(BATCH), "--threads", "2"]
    bare += ["--seconds", str(effort.seconds)]
    samples = interleave(
        {
            "bare": lambda: float(run_json(*bare)["rows_per_second"]),
            "fleet": lambda: BATCH * client(url, effort.seconds, in_flight=BATCHES_IN_FLIGHT, **options)["rate"],
        },
        effort.repeats,
    )
    yield figure(f"bare OpenVINO, {model}, batch {BATCH}", samples["bare"], "rows/s")
    yield figure(f"infer {model}, batch {BATCH}", samples["fleet"], "rows/s", floor=samples["bare"])
