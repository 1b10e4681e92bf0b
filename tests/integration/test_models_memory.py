"""What a model costs a worker: memory that it gives back, and a compiled cache that survives a restart and a damage."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from npufleet import Fleet
from tests.conftest import rust_worker_missing
from tests.support.waiting import wait_until
from tests.support.worker_stand import Broker, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, LAYERS = 1024, 6
MEBIBYTE = 1 << 20
SIZE = WIDTH * WIDTH * 4 * LAYERS
"""Bytes of the large model's weights: 24 MiB."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which the Rust worker keeps no compiled form."""
    return perceptron(tmp_path_factory.mktemp("large"), LAYERS)


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which it does."""
    return perceptron(tmp_path_factory.mktemp("medium"), LAYERS // 3)


def perceptron(folder: Path, layers: int) -> Path:
    """A multilayer perceptron with nothing but weights."""
    import openvino
    from openvino import opset13 as op

    random = np.random.default_rng(1)
    x = op.parameter(openvino.PartialShape([-1, WIDTH]), np.float32, name="x")
    node = x
    for _ in range(layers):
        weights = random.standard_normal((WIDTH, WIDTH), np.float32) / 32
        node = op.relu(op.matmul(node, op.constant(weights), transpose_a=False, transpose_b=False))
    x.output(0).set_names({"x"})
    node.output(0).set_names({"y"})
    path = folder / "model.xml"
    openvino.save_model(openvino.Model([node], [x], "large"), path, compress_to_fp16=False)
    return path


@pytest.fixture(params=["rust", "python"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "rust" and (why := rust_worker_missing()):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture
def cache() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="npufleet-test-") as folder:
        yield Path(folder)


def start(broker: Broker, engine: str, cache: Path) -> WorkerProcess:
    options = ("--primary",) if engine == "python" else ()
    return WorkerProcess(broker.url, "--cache-dir", str(cache), *options, engine=engine)


def answer(fleet: Fleet) -> np.ndarray:
    return fleet.infer("large", {"x": np.full((2, WIDTH), 0.5, np.float32)})["y"]


def resident(process: WorkerProcess) -> int:
    return psutil.Process(process.process.pid).memory_info().rss


KEPT = {"rust": 0.4, "python": 2.0}
"""How many times its weights may stay when models go: OpenVINO's Python package lags behind by one or two."""


def test_a_removed_model_gives_its_memory_back(engine: str, cache: Path, large: Path) -> None:
    with Broker() as broker, start(broker, engine, cache) as process, Fleet.connect(broker.url) as fleet:
        process.ready()
        begin = None
        for _ in range(5):
            fleet.models.add("large", large, precision="f32")
            answer(fleet)
            loaded = resident(process)
            fleet.models.remove("large")
            if engine == "rust":
                wait_until(lambda: loaded - resident(process) > 0.8 * SIZE, "the weights to leave", 10)  # noqa: B023
            # The first model brings what is there for all of them: the library, its threads, code made at run time.
            begin = begin or resident(process)
        assert begin is not None
        wait_until(lambda: resident(process) - begin < KEPT[engine] * SIZE, "nothing to add up", 10)


def blobs(cache: Path) -> dict[Path, int]:
    """Compiled models by path, with the time of their writing."""
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.blob")}


def test_the_compiled_cache_survives_a_restart_and_a_damage(engine: str, cache: Path, medium: Path) -> None:
    with Broker() as broker, Fleet.connect(broker.url) as fleet:
        with start(broker, engine, cache) as process:
            process.ready()
            fleet.models.add("large", medium, precision="f32", max_batch=2)
            expected = answer(fleet)
            process.terminate()
        written = blobs(cache)
        assert written, "compiled models are kept"

        def again() -> dict[Path, int]:
            with start(broker, engine, cache) as process:
                process.ready()
                process.wait("model", state="ready")
                np.testing.assert_array_equal(answer(fleet), expected)
                process.terminate()
            return blobs(cache)

        assert again() == written, "and used after a restart"
        for damage in (lambda content: content[: len(content) // 2], scribbled):
            contents = {path: path.read_bytes() for path in written}
            damaged_at = time.time_ns()
            for path, content in contents.items():
                path.chmod(0o600)
                path.write_bytes(damage(content))
            written = again()
            assert written, "what does not load is made anew, as far as it is wanted again"
            for path, written_at in written.items():
                assert written_at >= damaged_at - 10**9
                assert path not in contents or path.read_bytes() != damage(contents[path])


def scribbled(content: bytes) -> bytes:
    """Content of the same length with zeros in the middle, where the weights are."""
    middle = len(content) // 2
    return content[:middle] + bytes(MEBIBYTE) + content[middle + MEBIBYTE :]
