"""The golden vectors of broker/contract/vectors as test parameters, and how answers are compared with them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet.wire import frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTRACT_DIRECTORY = Path(__file__).resolve().parents[2] / "broker" / "contract"
VECTORS = CONTRACT_DIRECTORY / "vectors"
CONTRACT: dict[str, Any] = tomllib.loads((CONTRACT_DIRECTORY / "contract.toml").read_text("utf-8"))


def load(name: str) -> dict[str, Any]:
    return dict(json.loads((VECTORS / f"{name}.json").read_text("utf-8")))


def operations() -> dict[str, list[dict[str, Any]]]:
    """The golden numbers of every operation by its name."""
    return {path.stem: load(f"operations/{path.stem}")["cases"] for path in (VECTORS / "operations").glob("*.json")}


def cases(name: str, group: str, key: str = "name") -> list[Any]:
    """The cases of one list, each with its own text as the test's id."""
    return [pytest.param(case, id=case[key] or "empty") for case in load(name)[group]]


def check_answer(case: dict[str, Any], reply: bytes) -> None:
    """Compare a reply frame with a case's expected one, within the case's tolerance.

    A tolerance is relative to the largest finite magnitude that is expected, or the smallest normal number. Where
    NaN or infinity is expected, the answer must be one of them; engines differ in which. Tolerance 0 means same bytes.
    """
    found, _ = frame.decode(reply)
    expected, _ = frame.decode(bytes.fromhex(case["expect_hex"]))
    assert found.keys() == expected.keys()
    for name, truth in expected.items():
        assert (found[name].dtype, found[name].shape) == (truth.dtype, truth.shape)
        if case["tolerance"] == 0.0:
            assert found[name].tobytes() == truth.tobytes()
        else:
            _check_close(found[name], truth, case["tolerance"])


def _check_close(found: NDArray[Any], truth: NDArray[Any], tolerance: float) -> None:
    finite = np.isfinite(truth)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    scale = max(np.abs(truth[finite]).max(initial=0), np.finfo(truth.dtype).tiny)
    error = np.abs(found[finite] - truth[finite]).max(initial=0)
    assert error <= tolerance * scale, f"error {error / scale:.3g} of the scale, allowed {tolerance:.3g}"
