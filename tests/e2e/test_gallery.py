"""The gallery: its script draws every operation on real recordings, and the page shows what is drawn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npufleet import Fleet
from npufleet.wire import contract

DOCS = Path(__file__).resolve().parents[2] / "docs"
# On a busy machine matplotlib and the worker's imports alone take their time.
pytestmark = pytest.mark.timeout(180)
# These two give back what they get, and what a model gives.
NOT_DRAWN = {"echo", "infer"}
BYTES = 48 * 1024


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures as they are drawn now, by Python workers."""
    folder = tmp_path_factory.mktemp("gallery")
    with Fleet.local(workers=["python"]) as fleet:
        command = [sys.executable, str(DOCS / "gallery" / "draw.py"), str(folder)]
        environment = {**os.environ, "NPUFLEET_URL": fleet.url}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_operation_is_drawn(drawn: Path) -> None:
    assert {path.stem for path in drawn.iterdir()} == contract.OPERATIONS.keys() - NOT_DRAWN


def test_the_pictures_show_something_and_are_small(drawn: Path) -> None:
    for path in drawn.iterdir():
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        # Lines on white, a photograph, or a map of colours: never a blank sheet.
        assert (pixels < 192).mean() > 0.005, path.name
        assert pixels.std() > 10, path.name
        assert path.stat().st_size < BYTES, path.name


def test_the_page_shows_the_pictures_that_are_there(drawn: Path) -> None:
    shown = re.findall(r"!\[(\w+)\]\(gallery/(\w+)\.png\)", (DOCS / "gallery.md").read_text("utf-8"))
    assert all(name == file for name, file in shown)
    kept = {path.stem: path for path in (DOCS / "gallery").glob("*.png")}
    assert {name for name, _ in shown} == kept.keys() == {path.stem for path in drawn.iterdir()}
    for name, path in kept.items():
        with Image.open(path) as old, Image.open(drawn / path.name) as new:
            assert old.size == new.size, name
