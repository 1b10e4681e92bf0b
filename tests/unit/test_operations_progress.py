"""How far an operation is, as whoever executes it hears it."""

from __future__ import annotations

import numpy as np
import pytest

from npufleet import operations
from npufleet.operations.shared import progress


def heard(name: str, tensors: dict[str, object], params: dict[str, object]) -> list[float]:
    found: list[float] = []
    with progress.listening(found.append):
        operations.execute(name, {key: np.asarray(value) for key, value in tensors.items()}, params)
    return found


@pytest.mark.parametrize(
    ("name", "tensors", "params"),
    [
        ("echo", {"x": np.zeros(1)}, {"delay": 0.05}),
        ("pipeline", {"x": np.arange(8.0)}, {"steps": [{"operation": "fft"}, {"operation": "echo"}] * 3}),
        ("adaptive", {"x": np.ones(9000), "d": np.ones(9000)}, {"order": 2}),
        ("kalman", {"z": np.ones(50)}, {"smooth": True}),
    ],
)
def test_progress_goes_from_nothing_to_all(name: str, tensors: dict[str, object], params: dict[str, object]) -> None:
    found = heard(name, tensors, params)
    assert len(found) >= 2
    assert found == sorted(found)
    assert all(0.0 <= each <= 1.0 for each in found)


def test_a_step_counts_for_its_share_of_the_pipeline() -> None:
    slow = {"operation": "echo", "params": {"delay": 0.03}}
    found = heard("pipeline", {"x": np.zeros(1)}, {"steps": [slow, slow]})
    assert 0.5 in found
    assert found[-1] == 1.0
    assert any(0.0 < each < 0.5 for each in found)
    assert any(0.5 < each < 1.0 for each in found)


def test_where_nobody_listens_nothing_happens() -> None:
    progress.report(0.5)
    with progress.part(0.0, 0.5):
        progress.report(1.0)
