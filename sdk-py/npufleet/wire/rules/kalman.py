"""What `kalman` demands of the shapes of its model, and which parameters go with which model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire.rules.common import check_result, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors

MODEL: Final = ("F", "H", "Q", "R")
SCALAR: Final = ("process_variance", "measurement_variance", "initial_mean", "initial_variance")
DIMENSIONS: Final = 64
"""The most components of a state or a measurement; work grows with the cube of them."""


def time_axis(params: Params, rank: int, *, linear: bool) -> int:
    """Return the axis of time, counted from the front; refuse one that z lacks or that holds components."""
    axis = position({"axis": params.get("axis", -2 if linear else -1)}, rank)
    if linear and axis == rank - 1:
        raise InvalidParameterError(
            f"parameter 'axis' is {params['axis']}; allowed: {-rank} to {rank - 2} but -1, which holds the components"
        )
    return axis


def check(tensors: Tensors, params: Params) -> None:
    """Refuse matrices that do not fit each other or z, no measurements, and parameters of the other model."""
    dtype, shape = tensors["z"]
    size = 4 if dtype == "F32" else 8
    linear = any(name in tensors for name in MODEL)
    if linear:
        _check_model(tensors, params)
        if len(shape) < 2:
            raise InvalidShapeError(f"tensor 'z' has {len(shape)} dimensions; allowed: at least 2 with tensor 'F'")
    else:
        for name in ("x0", "P0"):
            if name in tensors:
                raise InvalidShapeError(f"tensor '{name}' is given without a model; allowed: with F, H, Q and R")
    axis = time_axis(params, len(shape), linear=linear)
    if shape[axis] == 0:
        raise InvalidShapeError(f"tensor 'z' has 0 measurements along axis {axis}; allowed: at least 1")
    states = tensors["F"][1][0] if linear else 1
    components = tensors["H"][1][0] if linear else 1
    if linear and shape[-1] != components:
        raise InvalidShapeError(
            f"tensor 'z' has {shape[-1]} components in a measurement; allowed: {components} as in H"
        )
    check_result(math.prod(shape) // components * states * size)
    check_result(shape[axis] * states * states * size)
    if linear:
        lines = (*shape[:axis], *shape[axis + 1 : -1])
        _check_shape(tensors, "x0", (states,), (*lines, states))
        _check_shape(tensors, "P0", (states, states))


def _check_model(tensors: Tensors, params: Params) -> None:
    for name in MODEL:
        if name not in tensors:
            raise InvalidShapeError(f"tensor '{name}' is missing; allowed: F, H, Q and R together or none of them")
    for name in SCALAR:
        if name in params:
            raise InvalidParameterError(f"parameter '{name}' is {params[name]:g}; allowed: only without a model")
    states, components = tensors["F"][1][0], tensors["H"][1][0]
    for name, count in (("F", states), ("H", components)):
        if not 1 <= count <= DIMENSIONS:
            raise InvalidShapeError(f"tensor '{name}' has {count} rows; allowed: 1 to {DIMENSIONS}")
    _check_shape(tensors, "F", (states, states))
    _check_shape(tensors, "H", (components, states))
    _check_shape(tensors, "Q", (states, states))
    _check_shape(tensors, "R", (components, components))


def _check_shape(tensors: Tensors, name: str, *allowed: tuple[int, ...]) -> None:
    if name in tensors and tensors[name][1] not in allowed:
        words = " or ".join(str(list(shape)) for shape in dict.fromkeys(allowed))
        raise InvalidShapeError(f"tensor '{name}' has shape {list(tensors[name][1])}; allowed: {words}")
