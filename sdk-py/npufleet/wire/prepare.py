"""One request to an operation as a frame: checked against the contract's row, with everything cached that repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npufleet.errors import InvalidParameterError, InvalidShapeError
from npufleet.wire import dtype as dtypes
from npufleet.wire.array import as_array
from npufleet.wire.frame import Plan, params_text, remember

if TYPE_CHECKING:
    from npufleet.wire.contract import Operation


def prepare(operation: Operation, tensors: object, params: Mapping[str, object] | None = None) -> bytes:
    """Return the frame of a request, or refuse it before anything is sent.

    `tensors` maps names to array-likes (see `as_array`), or is one array-like where the operation needs only
    one. A second request with the same names, dtypes, shapes and parameters costs a lookup and the copy of the
    data. Raises `InvalidShapeError` and `InvalidParameterError` naming the field, the value and what is allowed.
    """
    # The types belong to the key: 1, 1.0 and True are equal, and not equally valid.
    given = (tuple(params.items()), tuple(map(type, params.values()))) if params else None
    key: Any
    if type(tensors) is np.ndarray:
        arrays: tuple[Any, ...] = (tensors,)
        key = (operation.name, tensors.dtype, tensors.shape, given)
    elif type(tensors) is dict or isinstance(tensors, Mapping):
        arrays = tuple([v if type(v) is np.ndarray else as_array(name, v) for name, v in tensors.items()])
        key = (operation.name, *tensors, *[(a.dtype, a.shape) for a in arrays], given)
    else:
        arrays = (as_array(_only_input(operation), tensors),)
        key = (operation.name, arrays[0].dtype, arrays[0].shape, given)
    try:
        plan = _PLANS.get(key)
    except TypeError:
        # A parameter is a list or the like, so its request is checked each time.
        return _plan(operation, tensors, arrays, params).join(arrays)
    if plan is None:
        plan = remember(_PLANS, key, _plan(operation, tensors, arrays, params))
    return plan.join(arrays)


def parameters(params: Mapping[str, object] | None, more: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the parameters of a request, given as a mapping, as keywords, or both; one given twice is refused."""
    if not more:
        return params
    for name in params or ():
        if name in more:
            raise InvalidParameterError(f"parameter '{name}' is given twice; allowed: in params or as a keyword")
    return {**(params or {}), **more}


def _plan(operation: Operation, tensors: object, values: tuple[Any, ...], params: Mapping[str, object] | None) -> Plan:
    names = tuple(tensors) if isinstance(tensors, Mapping) else (_only_input(operation),)
    arrays = {name: as_array(name, value) for name, value in zip(names, values, strict=True)}
    checked = operation.check_params(params or {}, defaults=False)
    found = {name: dtypes.of(array.dtype) for name, array in arrays.items()}
    shapes = {name: (row.word, arrays[name].shape) for name, row in found.items() if row is not None}
    operation.check(shapes, checked)
    return Plan(arrays, params_text(checked))


def _only_input(operation: Operation) -> str:
    if operation.main_name is None:
        raise InvalidShapeError(f"tensors of {operation.name} are no mapping; allowed: names to arrays")
    return operation.main_name


_PLANS: dict[Any, Plan] = {}
