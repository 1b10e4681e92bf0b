"""The arrows between the parts of the Python package point one way, and this is the map of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import npufleet

PACKAGE = Path(npufleet.__file__).parent

# A part may import the parts that its row names, and nothing else of ours. No row names a part below itself, so the
# arrows cannot form a circle. Imports for type checkers only are not counted.
ARROWS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "_engine": ("errors",),
    "wire": ("errors",),
    "operations": ("errors", "wire"),
    "payload": ("errors", "wire"),
    "telemetry": (),
    "transport": ("errors", "wire", "_engine", "payload"),
    "result": ("errors", "wire"),
    "statistics": (),
    "broker": ("errors", "wire", "transport", "_engine"),
    "model_files": ("errors",),
    "model_policy": ("errors",),
    "model_info": ("errors", "model_policy"),
    "worker": (
        "errors", "wire", "operations", "payload", "telemetry", "transport", "broker", "model_policy", "model_info",
    ),
    "watch": (),
    "control": ("errors", "transport"),
    "model_registry": ("errors", "broker", "model_files", "model_info"),
    "model_benchmark": ("errors", "model_info"),
    "model_ports": ("wire",),
    "models": (
        "errors", "wire", "broker", "watch", "model_files", "model_policy", "model_info", "model_registry",
        "model_benchmark", "model_ports",
    ),
    "pages": (),
    "rows": ("errors", "wire", "pages"),
    "recovery": ("errors", "wire", "transport"),
    "call": ("errors", "wire", "telemetry", "result", "statistics", "recovery"),
    "parts": (),
    "many": ("errors", "wire", "call", "rows", "parts"),
    "jobs": ("errors", "wire", "telemetry", "transport", "result", "broker"),
    "opening": (),
    "_typed": (),
    "health": ("_engine",),
    "fleet": (
        "errors", "wire", "transport", "broker", "control", "models", "call", "many", "jobs", "opening", "health",
        "_typed",
    ),
    "agents": ("errors", "wire", "telemetry", "transport", "result", "jobs", "fleet"),
    "blocking_jobs": ("errors", "jobs"),
    "runner": ("errors",),
    "blocking": ("wire", "model_info", "call", "jobs", "parts", "blocking_jobs", "fleet", "runner", "_typed"),
    "legacy": ("errors",),
    "demo": ("errors", "telemetry", "blocking"),
    "cli": (),
    "__main__": ("cli",),
}  # fmt: skip
ORDER = list(ARROWS)
FREE = {"cli"}  # at the top: the command line may use everything, and nobody the command line

# What `from npufleet import X` gives a program comes from these parts.
PUBLIC = {"Fleet": "blocking", "AsyncFleet": "fleet"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parts() -> set[str]:
    return {part_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}


class Imports(ast.NodeVisitor):
    """The parts of ours that a file imports when it runs."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports of ours are written out, as everywhere in the package"
        for alias in node.names:
            self._add(f"{node.module}.{alias.name}" if node.module == "npufleet" else str(node.module))

    def _add(self, module: str) -> None:
        names = module.split(".")
        if names[0] == "npufleet" and len(names) > 1 and names[1] != "__version__":
            self.found.add(PUBLIC.get(names[1], names[1]))


def imports_of(part: str) -> dict[str, set[str]]:
    """What each file of a part imports."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if part_of(path) == part:
            visitor = Imports()
            visitor.visit(ast.parse(path.read_text("utf-8")))
            found[str(path.relative_to(PACKAGE))] = visitor.found - {part, "_native"}
    return found


def test_the_map_names_every_part_and_no_other() -> None:
    assert set(ARROWS) == parts()


def test_the_map_points_one_way() -> None:
    for part, below in ARROWS.items():
        for each in below:
            assert ORDER.index(each) < ORDER.index(part), f"{part} -> {each} points up"


@pytest.mark.parametrize("part", [part for part in ORDER if part not in FREE])
def test_a_part_imports_only_what_the_map_allows(part: str) -> None:
    for file, imported in imports_of(part).items():
        assert imported <= set(ARROWS[part]), f"{file} imports {sorted(imported - set(ARROWS[part]))}"


@pytest.mark.parametrize("part", ORDER)
def test_the_map_names_no_arrow_that_is_not_there(part: str) -> None:
    imported = set().union(*imports_of(part).values())
    assert set(ARROWS[part]) <= imported, f"{part} no longer imports {sorted(set(ARROWS[part]) - imported)}"
