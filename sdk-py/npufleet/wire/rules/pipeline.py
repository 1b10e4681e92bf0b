"""What `pipeline` demands of its steps, as far as it is known before they run.

The first step is checked like a request of its own; of a later one it is known which tensors the step before may
give, and of which dtypes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npufleet.errors import InvalidShapeError
from npufleet.wire.steps import naming, wiring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from npufleet.wire.contract import Operation, TensorRow
    from npufleet.wire.rules.common import Params, Tensors


def check(tensors: Tensors, params: Params) -> None:
    """Refuse a step whose tensors are not there, or cannot be of a dtype that it takes."""
    # The contract's rows are read after the rules, which are part of them.
    from npufleet.wire.contract import OPERATIONS

    exact: Tensors | None = tensors
    before: Operation | None = None
    for index, step in enumerate(params["steps"]):
        row = OPERATIONS[step["operation"]]
        with naming(index, row.name):
            if exact is not None:
                taken = _taken(row, step, before, exact, tensors)
                row.check(taken, step.get("params", {}))
            elif before is not None and before.outputs is not None:
                _check_declared(row, step, before, before.outputs, tensors)
        # What an echo gives is what it takes; of others only the declared is known.
        exact = taken if exact is not None and row.name == "echo" else None
        before = row


def _taken(
    row: Operation, step: Mapping[str, Any], before: Operation | None, exact: Tensors, request: Tensors
) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        name: (request if is_request else exact)[source]
        for name, source, is_request in wiring(row, step, before, list(exact), list(request))
    }


def _check_declared(
    row: Operation, step: Mapping[str, Any], before: Operation, outputs: Sequence[TensorRow], request: Tensors
) -> None:
    """Check a step against the rows of what the step before gives."""
    inputs = step.get("inputs")
    main = before.main_output
    if inputs is None and row.main_input is not None and main is not None and not main.optional:
        inputs = {} if row.takes(main.name) else {row.main_input.name: main.name}
    for name, source in (inputs or {}).items():
        found = next((output for output in outputs if output.matches(source)), None)
        if found is None:
            listed = ", ".join(output.shown for output in outputs)
            raise InvalidShapeError(f"tensor '{name}' would be '{source}', but {before.name} gives: {listed}")
        wanted = row.input(name)
        if wanted is not None and not set(found.dtypes) & set(wanted.dtypes):
            # Any of them does: the message names one, and what is allowed.
            wanted.check(name, found.dtypes[0], (1,) * wanted.minimum_rank)
    for name, source in step.get("request_inputs", {}).items():
        if source not in request:
            listed = ", ".join(request) or "none"
            raise InvalidShapeError(f"tensor '{name}' would be '{source}', but the request gives: {listed}")
        wanted = row.input(name)
        if wanted is not None:
            wanted.check(name, *request[source])
