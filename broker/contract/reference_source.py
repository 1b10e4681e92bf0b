"""The reference page of the operations, as Markdown."""

from __future__ import annotations

import re
from typing import Any

from typed_source import call_text, described, numpy_names, shown

Json = dict[str, Any]

HEADER = """# Operations

<!-- Written by broker/contract/generate.py; edit broker/contract/contract.toml instead. -->

What a fleet can compute. Every operation takes tensors and parameters and gives tensors; it is called with
`fleet.call("<operation>", tensors, params)` or, where one is shown, with its own method.
"""


def page(contract: Json) -> str:
    parts = [HEADER, "\n", _contents(contract)]
    for name, row in contract["operations"].items():
        parts.append(_operation(contract, name, row))
    parts.append(_errors(contract))
    return "".join(parts)


def _contents(contract: Json) -> str:
    rows = [f"| [{name}](#{name}) | {row['summary']} |\n" for name, row in contract["operations"].items()]
    return "| operation | what it does |\n|---|---|\n" + "".join(rows)


def _operation(contract: Json, name: str, row: Json) -> str:
    subject = contract["subjects"]["call"].replace("{prefix}", contract["subjects"]["prefix"])
    subject = subject.replace("{operation}", name)
    subject = subject.replace("[.{model}]", ".{model}" if row.get("model") else "")
    parts = [f"\n## {name}\n\n{row['summary']}\n\n"]
    parts.append(f"Method: `fleet.{call_text(name, row)}`  \n")
    parts.append(f"Subject: `{subject.replace('{', '<').replace('}', '>')}`\n")
    if row.get("source"):
        source = re.sub(r"\b(?:scipy|pywt)(?:\.\w+)+", r"`\g<0>`", row["source"])
        parts.append(f"\nThe numbers are those of {source}.\n")
    parts.append(_tensors("Input", row["inputs"]) + _tensors("Output", row["outputs"]))
    parameters = row.get("parameters", [])
    if parameters:
        parts.append("\n| parameter | accepts | meaning |\n|---|---|---|\n")
        parts += [f"| `{p['name']}` | {described(p)} | {p['summary']} |\n" for p in parameters]
    else:
        parts.append("\nNo parameters.\n")
    return "".join(parts)


def _tensors(title: str, rows: Any) -> str:
    if rows == "any":
        return f"\n{title}: any tensors by any names.\n"
    if not rows:
        return f"\n{title}: none.\n"
    table = f"\n| {title.lower()} | dtypes | dimensions | meaning |\n|---|---|---|---|\n"
    for row in rows:
        rank = f"at least {row['minimum_rank']}" if row.get("minimum_rank") else "any"
        rank += ", optional" if row.get("optional") else ""
        table += f"| `{shown(row)}` | {', '.join(numpy_names(row['dtypes']))} | {rank} | {row['summary']} |\n"
    return table


def _errors(contract: Json) -> str:
    retry = {
        "no": "no",
        "yes": "yes, after the time that the error carries",
        "other_engine": "by the other engine, once",
        "send_again": "yes, by sending the payload again",
    }
    rows = [f"| `{row['kind']}` | {row['code']} | {retry[row['retry']]} |\n" for row in contract["errors"]]
    return (
        "\n## Errors\n\nWhat can be answered instead, whatever the operation; in Python each kind is one class under "
        "`FleetError`.\n\n| kind | code | does trying again help? |\n|---|---|---|\n" + "".join(rows)
    )
