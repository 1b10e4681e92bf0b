"""`kalman`: both engines estimate alike, in one piece and chunk by chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npufleet import operations
from tests.support import engines


def model(generator: np.random.Generator, states: int, components: int) -> dict[str, Any]:
    """A stable model without near-singular covariances."""
    transition = generator.standard_normal((states, states))
    transition *= 0.95 / max(1e-3, np.abs(np.linalg.eigvals(transition)).max())
    roots = {"Q": generator.standard_normal((states, states)), "R": generator.standard_normal((components, components))}
    noise = {name: root @ root.T + 0.1 * np.eye(len(root)) for name, root in roots.items()}
    noise = {name: (matrix + matrix.T) / 2 for name, matrix in noise.items()}
    return {"F": transition, "H": generator.standard_normal((components, states)), **noise}


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_engines_agree_on_models(data: st.DataObject) -> None:
    engines.native()
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    states, components = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    axis = data.draw(st.sampled_from([0, 1, -2, -3]))
    sizes = (data.draw(st.integers(1, 40)), data.draw(st.integers(0, 4)))
    shape = (*(sizes if axis in (0, -3) else sizes[::-1]), components)
    z = generator.standard_normal(shape).astype(dtype)
    tensors = {"z": z, **model(generator, states, components)}
    if data.draw(st.booleans()):
        tensors["x0"] = generator.standard_normal(states)
    params = {"axis": axis, "smooth": data.draw(st.booleans())}
    engines.check_agreement("kalman", tensors, params, 1e-5 if dtype == "float32" else 1e-8)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_engines_agree_on_walks(data: st.DataObject) -> None:
    engines.native()
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    z = generator.standard_normal((data.draw(st.integers(0, 3)), data.draw(st.integers(1, 200))))
    variances = st.sampled_from([0.0, 1e-6, 1.0]) | st.floats(1e-6, 1e3)
    names = ["process_variance", "measurement_variance", "initial_variance"]
    params: dict[str, Any] = {name: data.draw(variances) for name in names if data.draw(st.booleans())}
    params["smooth"] = data.draw(st.booleans())
    if params.get("measurement_variance") == 0:
        del params["measurement_variance"]
    engines.check_agreement("kalman", {"z": z}, params, 1e-8)


def rust(tensors: dict[str, Any]) -> Any:
    engines.native()
    return engines.rust("kalman", tensors, {})


def python(tensors: dict[str, Any]) -> Any:
    return operations.execute("kalman", tensors, {})


@pytest.mark.parametrize("engine", [python, rust])
def test_chunks_give_what_the_whole_gives(engine: Any) -> None:
    generator = np.random.default_rng(5)
    given = model(generator, 3, 2)
    z = generator.standard_normal((4, 60, 2))
    whole = engine({"z": z, **given})
    start: dict[str, Any] = {}
    pieces, likelihood = [], np.zeros(4)
    for chunk in np.split(z, [1, 7, 30], axis=1):
        answer = engine({"z": chunk, **given, **start})
        pieces.append(answer["x"])
        likelihood += answer["log_likelihood"]
        start = {"x0": answer["x"][:, -1], "P0": answer["P"][-1]}
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole["x"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(likelihood, whole["log_likelihood"], rtol=1e-12)
