"""Pages that are made ahead of their being written."""

from __future__ import annotations

import os
import resource

import numpy as np
import pytest

from npufleet.pages import LEAST_BYTES, populate

HAS_PAGES = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) >= (5, 14)
TIMEOUT_S = 30


@pytest.mark.skipif(not HAS_PAGES, reason="this kernel makes no pages ahead")
def test_who_writes_has_no_pages_made() -> None:
    array = np.empty(2 * LEAST_BYTES, np.uint8)
    thread = populate(array)
    assert thread is not None
    thread.join(TIMEOUT_S)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    array.fill(1)
    faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    # The first and the last page may belong to others, too; with pages of 2 MiB there would be 16.
    assert faults <= 8


def test_what_is_written_already_stays() -> None:
    array = np.empty(LEAST_BYTES, np.uint8)
    array.fill(7)
    thread = populate(array)
    assert thread is not None
    thread.join(TIMEOUT_S)
    assert (array == 7).all()


def test_an_array_that_nobody_has_any_more_is_let_go() -> None:
    thread = populate(np.empty(16 * LEAST_BYTES, np.uint8))
    assert thread is not None
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def test_small_arrays_are_left_alone() -> None:
    assert populate(np.empty(LEAST_BYTES - 1, np.uint8)) is None
