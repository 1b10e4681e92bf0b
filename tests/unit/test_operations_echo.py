"""`echo` on the Python engine."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from npufleet import operations
from npufleet.errors import CallCancelledError, InvalidParameterError, UnknownOperationError


def test_the_same_arrays() -> None:
    tensors = {"a": np.ones(3), "b": np.array(1, np.int8)}
    found = operations.execute("echo", tensors, {})
    assert found == tensors
    assert found is not tensors
    assert found["a"] is tensors["a"]


def test_delay() -> None:
    start = time.monotonic()
    operations.execute("echo", {}, {"delay": 0.05})
    assert time.monotonic() - start >= 0.05


def test_a_delay_stops_when_nobody_waits_any_more() -> None:
    stop = threading.Event()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    start = time.monotonic()
    with pytest.raises(CallCancelledError):
        operations.execute("echo", {}, {"delay": 60}, stop.is_set)
    assert time.monotonic() - start < 30
    timer.join()


def test_rows() -> None:
    assert operations.REGISTRY["echo"].rows({}, {}) == 1


def test_refusals() -> None:
    with pytest.raises(InvalidParameterError):
        operations.execute("echo", {}, {"delay": -1})
    with pytest.raises(UnknownOperationError):
        operations.execute("infer", {}, {})
