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
from tests.support.model_stand import perceptron
from tests.support.waiting import wait_until
from tests.support.worker_stand import Broker, primary_worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.support.worker_stand import WorkerProcess

WIDTH, LAYERS = 1024, 6
MEBIBYTE = 1 << 20
SIZE = WIDTH * WIDTH * 4 * LAYERS
"""Bytes of the large model's weights: 24 MiB."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which the Rust worker keeps no compiled form."""
    return perceptron(tmp_path_factory.mktemp("large") / "model.xml", WIDTH, LAYERS)


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which it does."""
    return perceptron(tmp_path_factory.mktemp("medium") / "model.xml", WIDTH, LAYERS // 3)


@pytest.fixture
def cache() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="npufleet-test-") as folder:
        yield Path(folder)


def start(broker: Broker, engine: str, cache: Path) -> AbstractContextManager[WorkerProcess]:
    return primary_worker(broker.url, engine, "--cache-dir", str(cache))


def answer(fleet: Fleet) -> np.ndarray:
    return fleet.infer("large", {"x": np.full((2, WIDTH), 0.5, np.float32)})["y"]


def resident(process: WorkerProcess) -> int:
    return psutil.Process(process.process.pid).memory_info().rss


KEPT = 0.4
"""How many times its weights may stay when models go."""


def test_a_removed_model_gives_its_memory_back(worker_engine: str, cache: Path, large: Path) -> None:
    with Broker() as broker, start(broker, worker_engine, cache) as process, Fleet.connect(broker.url) as fleet:
        begin = None
        for _ in range(5):
            fleet.models.add("large", large, precision="f32")
            answer(fleet)
            loaded = resident(process)
            fleet.models.remove("large")
            wait_until(lambda: loaded - resident(process) > 0.8 * SIZE, "the weights to leave", 10)  # noqa: B023
            # The first model brings what is there for all of them: the library, its threads, code made at run time.
            begin = begin or resident(process)
        assert begin is not None
        wait_until(lambda: resident(process) - begin < KEPT * SIZE, "nothing to add up", 10)


def blobs(cache: Path) -> dict[Path, int]:
    """Compiled models by path, with the time of their writing."""
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.blob")}


def test_the_compiled_cache_survives_a_restart_and_a_damage(worker_engine: str, cache: Path, medium: Path) -> None:
    with Broker() as broker, Fleet.connect(broker.url) as fleet:
        with start(broker, worker_engine, cache) as process:
            fleet.models.add("large", medium, precision="f32", max_batch=2)
            expected = answer(fleet)
            process.terminate()
        written = blobs(cache)
        assert written, "compiled models are kept"

        def again() -> dict[Path, int]:
            with start(broker, worker_engine, cache) as process:
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
