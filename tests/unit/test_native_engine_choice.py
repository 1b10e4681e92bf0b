from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import npufleet
from npufleet import _engine
from npufleet.errors import InvalidParameterError, UnavailableError


@pytest.fixture(autouse=True)
def fresh_decision() -> None:
    _engine._decide.cache_clear()


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "npufleet._native", None)
    monkeypatch.delattr(npufleet, "_native", raising=False)


def test_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_engine.VARIABLE, "off")
    assert _engine.native_or_none() is None
    assert "off" in _engine.reason()


@pytest.mark.usefixtures("not_built")
def test_auto_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_engine.VARIABLE, raising=False)
    assert _engine.native_or_none() is None
    assert "cannot be loaded" in _engine.reason()


@pytest.mark.usefixtures("not_built")
def test_require_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_engine.VARIABLE, "require")
    with pytest.raises(UnavailableError):
        _engine.native_or_none()


def test_an_unknown_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_engine.VARIABLE, "yes")
    with pytest.raises(InvalidParameterError, match="auto, require, off"):
        _engine.native_or_none()


def test_the_stub_names_what_the_extension_has() -> None:
    native = pytest.importorskip("npufleet._native", reason="the compiled core is not built")
    stub = ast.parse(Path(npufleet.__file__).with_name("_native.pyi").read_text())

    def public(names: object) -> set[str]:
        return {name for name in names if not name.startswith("_")}  # type: ignore[attr-defined]

    described = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert public(described) == public(dir(native))
    for name, node in described.items():
        if isinstance(node, ast.ClassDef):
            members = {member.name for member in node.body if isinstance(member, ast.FunctionDef)}
            assert public(members) == public(vars(getattr(native, name)))
        else:
            arguments = [argument.arg for argument in node.args.args]
            assert arguments == list(inspect.signature(getattr(native, name)).parameters)


def test_the_package_does_not_load_the_extension() -> None:
    program = "import sys, npufleet; sys.exit('npufleet._native' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
