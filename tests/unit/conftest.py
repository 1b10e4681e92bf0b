"""What tests of one module alone share: a folder of arenas, and an arena in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from npufleet.payload.arena import Arena
from tests.support.arena_stand import folder_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as arenas want it."""
    return folder_in(tmp_path)


@pytest.fixture
def arena(folder: Path) -> Iterator[Arena]:
    """The arena of this process."""
    opened = Arena(folder)
    yield opened
    opened.close()
