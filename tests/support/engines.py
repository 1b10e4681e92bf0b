"""One request through both engines, without a broker, for tests that compare them."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import operations
from npufleet.errors import FleetError
from npufleet.wire import frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Answer = dict[str, Any] | str


def native() -> Any:
    """The compiled extension; skips the test where there is none."""
    if os.environ.get("NPUFLEET_NATIVE") == "off":
        pytest.skip("the compiled extension is switched off")
    return pytest.importorskip("npufleet._native", reason="no compiled extension", exc_type=ImportError)


def python(operation: str, tensors: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Answer:
    """The Python engine's answer, or its kind of refusal."""
    try:
        return operations.execute(operation, tensors, params)
    except FleetError as error:
        return error.kind


def rust(operation: str, tensors: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Answer:
    """The Rust engine's answer, or its kind of refusal."""
    extension = importlib.import_module("npufleet._native")
    try:
        return frame.decode(extension.execute(operation, frame.encode(tensors, params)))[0]
    except FleetError as error:
        return error.kind


def check_agreement(
    operation: str, tensors: Mapping[str, NDArray[Any]], params: Mapping[str, Any], tolerance: float
) -> None:
    """Both engines give the same arrays, within `tolerance` of each one's largest magnitude, or refuse alike."""
    ours, theirs = python(operation, tensors, params), rust(operation, tensors, params)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return
    assert ours.keys() == theirs.keys()
    for name, one in ours.items():
        other = theirs[name]
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        scale = np.abs(one).max(initial=np.finfo(one.dtype).tiny)
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * scale, err_msg=name)
