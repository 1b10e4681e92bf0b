"""The typed SDK methods as Python source: one per operation, with the documentation that its row has."""

from __future__ import annotations

import textwrap
from typing import Any

Json = dict[str, Any]
TIMEOUT_S = 30.0
WIDTH = 112
PYTHON = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "numbers": "float | Sequence[float]"}
PYTHON["steps"] = "Sequence[Mapping[str, Any]]"

HEADER = '''"""One typed method per operation. Written by broker/contract/generate.py; edit the contract instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from npufleet.result import Result

__all__ = ["AsyncOperations", "Operations"]
'''


def source(contract: Json) -> str:
    parts = [HEADER]
    for name, summary, is_async in (
        ("AsyncOperations", "The operations as coroutines, for a class that has `call`.", True),
        ("Operations", "The operations as blocking methods, for a class that has `call`.", False),
    ):
        result = "Awaitable[Result]" if is_async else "Result"
        parts.append(f'\n\nclass {name}:\n    """{summary}"""\n\n    __slots__ = ()\n')
        parts.append(f"\n    if TYPE_CHECKING:\n        call: Callable[..., {result}]\n")
        for operation, row in contract["operations"].items():
            # `infer` has a method of its own, which knows models.
            if not row.get("model"):
                parts.append("\n" + textwrap.indent(_method(contract, operation, row, is_async), "    "))
    return "".join(parts)


def _method(contract: Json, name: str, row: Json, is_async: bool) -> str:
    inputs, outputs = row["inputs"], row["outputs"]
    bare = inputs == "any" or open_ended(inputs)
    first = ["tensors: ArrayLike | Mapping[str, ArrayLike]"] if bare else list(map(_input, inputs))
    named = [_argument(parameter) for parameter in row.get("parameters", [])]
    lane = contract["lanes"]["default"]
    named += [f"timeout: float = {TIMEOUT_S}", f'lane: str = "{lane}"']
    single = outputs != "any" and len(outputs) == 1
    returns = "NDArray[Any]" if single else "Result"
    prefix = "async def" if is_async else "def"
    signature = f"{prefix} {name}({', '.join(['self', *first, '*', *named])}) -> {returns}:\n"
    if len(signature) > WIDTH:
        arguments = "".join(f"    {part},\n" for part in ["self", *first, "*", *named])
        signature = f"{prefix} {name}(\n{arguments}) -> {returns}:\n"
    tensors, lines = _tensors(inputs)
    lines.append("params: dict[str, Any] = {}")
    for parameter in row.get("parameters", []):
        if parameter.get("required"):
            lines.append(f'params["{parameter["name"]}"] = {parameter["name"]}')
            continue
        absent = _literal(parameter.get("default"))
        test = "is not None" if absent == "None" else f"!= {absent}"
        lines += [f"if {parameter['name']} {test}:", f'    params["{parameter["name"]}"] = {parameter["name"]}']
    call = f'{"await " if is_async else ""}self.call("{name}", {tensors}, params, timeout=timeout, lane=lane)'
    lines.append(f"return ({call}).array" if single and is_async else f"return {call}{'.array' if single else ''}")
    body = _documentation(row, single) + "\n".join(lines) + "\n"
    return signature + textwrap.indent(body, "    ")


def _input(tensor: Json) -> str:
    return f"{tensor['name']}: ArrayLike{' | None = None' if tensor.get('optional') else ''}"


def _tensors(inputs: Any) -> tuple[str, list[str]]:
    """The expression that stands for a request's tensors, and the lines that make it."""
    if inputs == "any" or open_ended(inputs):
        return "tensors", []
    if len(inputs) == 1:
        return inputs[0]["name"], []
    always = ", ".join(f'"{each["name"]}": {each["name"]}' for each in inputs if not each.get("optional"))
    lines = [f"tensors: dict[str, ArrayLike] = {{{always}}}"]
    for each in inputs:
        if each.get("optional"):
            lines += [f"if {each['name']} is not None:", f'    tensors["{each["name"]}"] = {each["name"]}']
    return "tensors", lines


def _argument(parameter: Json) -> str:
    kind = PYTHON[parameter["type"]]
    if parameter.get("choices"):
        kind = f"Literal[{', '.join(map(_literal, parameter['choices']))}]"
    if parameter.get("required"):
        return f"{parameter['name']}: {kind}"
    default = parameter.get("default")
    return f"{parameter['name']}: {kind}{' | None' if default is None else ''} = {_literal(default)}"


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _documentation(row: Json, single: bool) -> str:
    lines = [row["summary"], ""]

    def item(head: str, text: str) -> None:
        lines.extend(textwrap.wrap(f"{head}: {text}", WIDTH - 12, initial_indent="- ", subsequent_indent="  "))

    lines.append("Arguments:")
    lines.append("")
    if row["inputs"] == "any":
        item("`tensors`", "any arrays by name; one array is `x`.")
    else:
        if open_ended(row["inputs"]):
            item("`tensors`", f"arrays by name, of those that follow; one array is `{row['inputs'][0]['name']}`.")
        for tensor in row["inputs"]:
            rank = f", at least {tensor['minimum_rank']}-d" if tensor.get("minimum_rank") else ""
            rank += ", optional" if tensor.get("optional") else ""
            item(f"`{shown(tensor)}`", f"{', '.join(numpy_names(tensor['dtypes']))}{rank}. {tensor['summary']}")
    for parameter in row.get("parameters", []):
        item(f"`{parameter['name']}`", f"{described(parameter)}. {parameter['summary']}")
    item("`timeout`", "seconds until the call ends with `DeadlineExceededError`.")
    item("`lane`", "the priority: realtime, critical, high, normal or low.")
    lines += ["", *_returned(row, single)]
    if row.get("source"):
        lines += ["", *textwrap.wrap(f"The numbers are those of {row['source']}.", WIDTH - 8)]
    errors = "Raises `InvalidShapeError` and `InvalidParameterError` before anything is sent, else any `FleetError`."
    lines += ["", *textwrap.wrap(errors, WIDTH - 8)]
    text = "\n".join(lines).replace("\\", "\\\\")
    return f'"""{text}\n"""\n'


def _returned(row: Json, single: bool) -> list[str]:
    if row["outputs"] == "any":
        return ["Returns the output arrays by name."]
    if single:
        output = row["outputs"][0]
        return textwrap.wrap(f"Returns `{output['name']}`: {output['summary']}", WIDTH - 8)
    lines = ["Returns:", ""]
    for output in row["outputs"]:
        dtypes = ", ".join(numpy_names(output["dtypes"]))
        text = f"`{shown(output)}`: {dtypes}. {output['summary']}"
        lines += textwrap.wrap(text, WIDTH - 12, initial_indent="- ", subsequent_indent="  ")
    return lines


def call_text(name: str, row: Json) -> str:
    """How a program writes the call, without types and without what every call takes."""
    if row.get("model"):
        return f"{name}(model, inputs)"
    open_first = row["inputs"] == "any" or open_ended(row["inputs"])
    first = ["tensors"] if open_first else list(map(_shown, row["inputs"]))
    named = [
        str(p["name"]) if p.get("required") else f"{p['name']}={_literal(p.get('default'))}"
        for p in row.get("parameters", [])
    ]
    return f"{name}({', '.join([*first, *named])})"


def open_ended(rows: Any) -> bool:
    """Whether a request may hold any number of some declared tensor."""
    return rows != "any" and any(row.get("numbered") for row in rows)


def shown(tensor: Json) -> str:
    """A declared tensor's name; `cD<n>` stands for cD0, cD1 and so on."""
    return f"{tensor['name']}<n>" if tensor.get("numbered") else str(tensor["name"])


def _shown(tensor: Json) -> str:
    return f"{tensor['name']}=None" if tensor.get("optional") else str(tensor["name"])


def numpy_names(words: list[str]) -> list[str]:
    return [NUMPY[word] for word in words]


def described(parameter: Json) -> str:
    """A parameter's type, range, unit and default in words."""
    unit = f" {parameter['unit']}" if parameter.get("unit") else ""
    parts = [parameter["type"]]
    if "maximum_length" in parameter:
        parts[0] = f"1 to {parameter['maximum_length']} {parameter['type']}"
    if parameter.get("choices"):
        parts.append("one of " + ", ".join(parameter["choices"]))
    elif "minimum" in parameter or "maximum" in parameter:
        parts.append(f"{number(parameter.get('minimum'))} to {number(parameter.get('maximum'))}{unit}")
    elif unit:
        parts.append(f"in{unit}")
    if parameter.get("required"):
        parts.append("required")
    if "default" in parameter:
        default = parameter["default"]
        parts.append(f"default {str(default).lower() if isinstance(default, bool) else number(default)}")
    return ", ".join(parts)


def number(value: Any) -> str:
    if value is None:
        return "any"
    if isinstance(value, float) and value.is_integer() and abs(value) < READABLE:
        return str(int(value))
    return str(value)


READABLE = 1e16
"""Whole numbers from here on are shown as powers of ten."""

NUMPY: dict[str, str] = {}
"""The contract's dtype words as NumPy names; filled in by whoever reads the contract."""
