"""The steps of a pipeline: what one may say, and which tensors of the step before it takes.

A step is `{"operation": ..., "params": {...}, "model": ..., "inputs": {...}, "request_inputs": {...}}`, all but the
first optional. `inputs` names what the step takes of the step before (the first: of the request), by the names that
it has here; `request_inputs` what it takes of the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import FleetError, InvalidParameterError, InvalidShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from npufleet.wire.contract import Operation

KEYS: Final = ("operation", "params", "model", "inputs", "request_inputs")
PIPELINE: Final = "pipeline"


class naming:  # noqa: N801 - used like a function
    """A context whose errors name the step: its number, counted from 1, and its operation."""

    def __init__(self, index: int, operation: str) -> None:
        self._step = f"step {index + 1} ({operation})"

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FleetError):
            error.args = (f"{self._step}: {error}",)


def check(name: str, value: object, maximum: int, find: Callable[[str], Operation]) -> list[dict[str, Any]]:
    """Return the steps with their parameters as plain values, or raise `InvalidParameterError` naming the step.

    `find` gives an operation's row by its name.
    """
    if not isinstance(value, list | tuple):
        raise InvalidParameterError(f"parameter '{name}' is {value!r:.80}; allowed: a list of steps")
    if not 1 <= len(value) <= maximum:
        raise InvalidParameterError(f"parameter '{name}' has {len(value)} steps; allowed: 1 to {maximum}")
    return [checked(index, step, find) for index, step in enumerate(value)]


def checked(index: int, step: object, find: Callable[[str], Operation], *, nested: bool = False) -> dict[str, Any]:
    """Return one step with plain values; with `nested` it may be a pipeline. Raises as `check` does."""
    if not isinstance(step, dict) or not isinstance(step.get("operation"), str):
        raise InvalidParameterError(f"step {index + 1} is {step!r:.80}; allowed: an object with 'operation'")
    with naming(index, step["operation"][:80]):
        for key in step:
            if key not in KEYS:
                raise InvalidParameterError(f"unknown key '{key!s:.80}'; allowed: {', '.join(KEYS)}")
        plain = {"operation": step["operation"]}
        try:
            row = find(step["operation"])
        except FleetError as error:
            raise InvalidParameterError(str(error)) from error
        if row.name == PIPELINE and not nested:
            raise InvalidParameterError("a pipeline is no step of a pipeline")
        params = step.get("params", {})
        if not isinstance(params, dict):
            raise InvalidParameterError(f"'params' is {params!r:.80}; allowed: an object")
        if params or any(each.required for each in row.parameters.values()):
            plain["params"] = row.check_params(params, defaults=False)
        plain |= _model(row, step)
        for key in ("inputs", "request_inputs"):
            if key in step:
                plain[key] = _names(key, step[key])
        return plain


def _model(row: Operation, step: Mapping[str, Any]) -> dict[str, str]:
    from npufleet.wire.contract import NAME_PATTERN

    if not row.model:
        if "model" in step:
            raise InvalidParameterError(f"'model' is {step['model']!r:.80}; allowed: none")
        return {}
    model = step.get("model")
    if not isinstance(model, str) or not NAME_PATTERN.fullmatch(model):
        raise InvalidParameterError(f"'model' is {model!r:.80}; allowed: the name of a registered model")
    return {"model": model}


def _names(key: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) and each for each in (*value, *value.values())):
        raise InvalidParameterError(f"'{key}' is {value!r:.80}; allowed: an object of tensor names")
    return dict(value)


def wiring(
    row: Operation, step: Mapping[str, Any], before: Operation | None, given: Sequence[str], request: Sequence[str]
) -> Iterator[tuple[str, str, bool]]:
    """Return the tensors that a step takes: its name for each, the name where it comes from, whether of the request.

    `before` is the operation of the step before, None for the first one; `given` and `request` are the names of
    what there is. A step without `inputs` takes everything if it declares all of it or any tensors by any names,
    otherwise the main tensor as its main input: the first that the operation before declares, where it gives the others
    only sometimes, or the only one.
    Raises `InvalidShapeError` for a tensor that is not there.
    """
    inputs = step.get("inputs")
    if inputs is None:
        inputs = {name: name for name in given}
        main = row.main_input
        if before is not None and main is not None and not all(map(row.takes, given)):
            inputs = {main.name: _main(before, given)}
    for names, there, is_request in ((inputs, given, False), (step.get("request_inputs", {}), request, True)):
        for name, source in names.items():
            if source not in there:
                owner = "the request" if is_request or before is None else before.name
                listed = ", ".join(there) or "none"
                raise InvalidShapeError(f"tensor '{name}' would be '{source}', but {owner} gives: {listed}")
            if is_request and name in inputs:
                raise InvalidShapeError(f"tensor '{name}' is given twice: of the step before, and of the request")
            yield name, source, is_request


def _main(before: Operation, given: Sequence[str]) -> str:
    if before.main_output is not None and before.main_output.name in given:
        return before.main_output.name
    if len(given) == 1:
        return given[0]
    raise InvalidShapeError(f"{before.name} gives {', '.join(given) or 'none'}; say by 'inputs' which to take")
