"""The contract's rows: names, limits, lanes, headers, and what each operation takes."""

from __future__ import annotations

import json
import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import InvalidParameterError, InvalidShapeError, UnknownOperationError
from npufleet.wire import steps
from npufleet.wire.document import DOCUMENT
from npufleet.wire.rules import RULES
from npufleet.wire.rules.common import RANK_LIMIT, RESULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ALIGNMENT",
    "DEFAULT_LANE",
    "FALLBACK_REASONS",
    "HEADER_LIMIT",
    "LANES",
    "NAME_LIMIT",
    "NAME_PATTERN",
    "OPERATIONS",
    "RANK_LIMIT",
    "RESULT_LIMIT",
    "TENSOR_LIMIT",
    "VERSION",
    "Operation",
    "Parameter",
    "TensorRow",
    "operation",
]

VERSION: Final[int] = DOCUMENT["version"]
LANES: Final[tuple[str, ...]] = tuple(DOCUMENT["lanes"]["order"])
DEFAULT_LANE: Final[str] = DOCUMENT["lanes"]["default"]
FALLBACK_REASONS: Final[tuple[str, ...]] = tuple(DOCUMENT["fallback"]["reasons"])
_NUMBER: Final = re.compile("0|[1-9][0-9]{0,3}")
NAME_PATTERN: Final = re.compile(DOCUMENT["names"]["pattern"])
HEADER_LIMIT: Final[int] = DOCUMENT["limits"]["header_bytes"]
TENSOR_LIMIT: Final[int] = DOCUMENT["limits"]["tensors"]
NAME_LIMIT: Final[int] = DOCUMENT["limits"]["tensor_name_bytes"]
ALIGNMENT: Final[int] = DOCUMENT["limits"]["alignment"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation; `default` is None when its absence has a meaning of its own."""

    name: str
    type: str
    summary: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    default: Any = None
    unit: str | None = None
    maximum_length: int = 1
    required: bool = False

    @property
    def allowed(self) -> str:
        """The accepted values in words, as error texts and the reference page say them."""
        if self.choices:
            return ", ".join(self.choices)
        if self.type == "steps":
            return f"1 to {self.maximum_length} steps"
        if self.type == "boolean":
            return "true, false"
        if self.minimum is not None and self.maximum is not None:
            return f"{_text(self.minimum)} to {_text(self.maximum)}"
        return f"any {self.type.removesuffix('s')}"

    def check(self, value: object) -> Any:
        """Return `value` in the plain Python type of the row's type, or raise `InvalidParameterError`."""
        if self.type == "numbers":
            return self._check_numbers(value)
        if self.type == "steps":
            return steps.check(self.name, value, self.maximum_length, operation)
        return self._check_one(self.type, value)

    def _check_numbers(self, value: object) -> list[float]:
        if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
            value = value.tolist()
        values = list(value) if isinstance(value, list | tuple) else [value]
        if not 1 <= len(values) <= self.maximum_length:
            allowed = f"1 to {self.maximum_length} numbers"
            raise InvalidParameterError(f"parameter '{self.name}' has {len(values)} numbers; allowed: {allowed}")
        return [self._check_one("number", each) for each in values]

    def _check_one(self, kind: str, value: object) -> Any:
        plain = _plain(kind, value)
        if plain is None:
            kind = f"{kind}s: " if kind in ("integer", "number") else ""
            raise InvalidParameterError(f"parameter '{self.name}' is {_text(value)}; allowed: {kind}{self.allowed}")
        inside = not isinstance(plain, str) and (
            (self.minimum is None or plain >= self.minimum) and (self.maximum is None or plain <= self.maximum)
        )
        if not (plain in self.choices if self.choices else inside or isinstance(plain, str)):
            raise InvalidParameterError(f"parameter '{self.name}' is {_text(plain)}; allowed: {self.allowed}")
        return plain


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One declared tensor of an operation; `dtypes` are contract words such as `F64`."""

    name: str
    dtypes: tuple[str, ...]
    summary: str
    minimum_rank: int = 0
    optional: bool = False
    numbered: bool = False

    @property
    def shown(self) -> str:
        """The name as texts show it: `cD<n>` stands for cD0, cD1 and so on."""
        return f"{self.name}<n>" if self.numbered else self.name

    def matches(self, name: str) -> bool:
        """Return whether a tensor of this name is one that the row declares."""
        if not self.numbered:
            return name == self.name
        number = name.removeprefix(self.name)
        return name.startswith(self.name) and _NUMBER.fullmatch(number) is not None

    def check(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Raise `InvalidShapeError` unless a tensor of this dtype (a contract word) and shape is accepted."""
        if dtype not in self.dtypes:
            allowed = ", ".join(map(_numpy_name, self.dtypes))
            raise InvalidShapeError(f"tensor '{name}' has dtype {_numpy_name(dtype)}; allowed: {allowed}")
        if len(shape) < self.minimum_rank:
            allowed = f"at least {self.minimum_rank}"
            raise InvalidShapeError(f"tensor '{name}' has {len(shape)} dimensions; allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `inputs` and `outputs` are None when any tensors by any names are accepted."""

    name: str
    summary: str
    model: bool
    inputs: tuple[TensorRow, ...] | None
    outputs: tuple[TensorRow, ...] | None
    parameters: dict[str, Parameter]
    source: str | None = None

    @property
    def main_input(self) -> TensorRow | None:
        """The input that a bare array stands for: the first one, where a request may come without the others."""
        return _main(self.inputs)

    @property
    def main_output(self) -> TensorRow | None:
        """The output that is meant where none is named: the first one, where an answer may come without the others."""
        return _main(self.outputs)

    @property
    def main_name(self) -> str | None:
        """The name of the tensor that a bare array is; None where tensors must come with their names."""
        if self.main_input is not None:
            return self.main_input.name
        return "x" if self.inputs is None and not self.model else None

    def input(self, name: str) -> TensorRow | None:
        """Return the row of an input, None where there is none."""
        return next((row for row in self.inputs or () if row.matches(name)), None)

    def takes(self, name: str) -> bool:
        """Return whether a tensor of this name may be an input."""
        return self.inputs is None or self.input(name) is not None

    def check_params(self, params: Mapping[str, object], *, defaults: bool = True) -> dict[str, Any]:
        """Return the parameters as plain values, absent ones filled in unless `defaults` is false.

        Raises `InvalidParameterError` naming the parameter, its value and what is allowed.
        """
        checked: dict[str, Any] = {}
        if defaults:
            checked.update({row.name: row.default for row in self.parameters.values() if row.default is not None})
        for name, value in params.items():
            row = self.parameters.get(name)
            if row is None:
                allowed = ", ".join(self.parameters) or "none"
                raise InvalidParameterError(f"unknown parameter '{name}' for {self.name}; allowed: {allowed}")
            checked[name] = row.check(value)
        for row in self.parameters.values():
            if row.required and row.name not in checked:
                raise InvalidParameterError(
                    f"parameter '{row.name}' is missing for {self.name}; allowed: {row.allowed}"
                )
        return checked

    def check(self, tensors: Mapping[str, tuple[str, tuple[int, ...]]], params: Mapping[str, object]) -> dict[str, Any]:
        """Check a whole request, the rules that no row can say included, and return its parameters with defaults.

        `tensors` maps names to (dtype as a contract word, shape).
        Raises `InvalidParameterError`, `InvalidShapeError`, or `PayloadTooLargeError` for a result beyond the limit.
        """
        checked = self.check_params(params)
        self.check_inputs(tensors)
        if (rule := RULES.get(self.name)) is not None:
            rule(tensors, checked)
        return checked

    def check_inputs(self, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """Check tensors given as name to (dtype as a contract word, shape).

        Raises `InvalidShapeError` for a missing or superfluous tensor, a wrong dtype or too low a rank.
        """
        if self.inputs is None:
            return
        allowed = ", ".join(row.shown for row in self.inputs)
        for row in self.inputs:
            if row.name not in tensors and not row.optional:
                raise InvalidShapeError(f"tensor '{row.name}' is missing for {self.name}; allowed: {allowed}")
        for name, described in tensors.items():
            found = self.input(name)
            if found is None:
                raise InvalidShapeError(f"unknown tensor '{name}' for {self.name}; allowed: {allowed}")
            found.check(name, *described)


def _main(rows: tuple[TensorRow, ...] | None) -> TensorRow | None:
    first, *others = rows or (None,)
    return first if all(row is not None and row.optional for row in others) else None


def operation(name: str) -> Operation:
    """Return an operation's row, or raise `UnknownOperationError` naming those that exist."""
    row = OPERATIONS.get(name)
    if row is None:
        raise UnknownOperationError(f"unknown operation '{name}'; allowed: {', '.join(OPERATIONS)}")
    return row


def _plain(kind: str, value: object) -> bool | int | float | str | None:
    """Return `value` as a plain scalar of the kind, or None; NumPy's scalars count as what they hold."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if kind == "string":
        return str(value) if isinstance(value, str) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if kind == "number" and isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, float):
        # 4.0 counts as 4; beyond 2^53 a float no longer says which integer was meant.
        return int(value) if value.is_integer() and abs(value) <= 2**53 else None
    try:
        whole = operator.index(value)  # type: ignore[arg-type]
        return whole if kind == "integer" else float(whole)
    except (TypeError, OverflowError):
        return None


def _text(value: object) -> str:
    """Write a value as an error text shows it: JSON's words, single quotes, no trailing `.0`, never long."""
    if isinstance(value, str):
        text = repr(str(value))
    elif isinstance(value, bool) or value is None:
        text = json.dumps(value)
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        text = str(int(value))
    else:
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _numpy_name(word: str) -> str:
    # A dtype that no frame can hold has no word, and is given by NumPy's own name.
    return str(DOCUMENT["dtypes"].get(word, {"numpy": word})["numpy"])


def _tensors(rows: list[dict[str, Any]] | str) -> tuple[TensorRow, ...] | None:
    if rows == "any":
        return None
    return tuple(TensorRow(**{**row, "dtypes": tuple(row["dtypes"])}) for row in rows if isinstance(row, dict))


def _operation(name: str, row: dict[str, Any]) -> Operation:
    parameters = [Parameter(**{**p, "choices": tuple(p.get("choices", ()))}) for p in row.get("parameters", ())]
    return Operation(
        name=name,
        summary=row["summary"],
        model=row.get("model", False),
        inputs=_tensors(row["inputs"]),
        outputs=_tensors(row["outputs"]),
        parameters={p.name: p for p in parameters},
        source=row.get("source"),
    )


OPERATIONS: Final[dict[str, Operation]] = {name: _operation(name, row) for name, row in DOCUMENT["operations"].items()}
"""Every operation's row by name."""
