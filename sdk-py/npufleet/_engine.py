"""Decides, once per process, whether the compiled core is used: `NPUFLEET_NATIVE=auto|require|off`.

`auto` (the default) takes it when it is built, `require` fails with `UnavailableError` when it is not, `off` never
takes it. With it off, calls go through nats-py and only Python workers run.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from npufleet.errors import InvalidParameterError, UnavailableError

if TYPE_CHECKING:
    from types import ModuleType

VARIABLE = "NPUFLEET_NATIVE"
CHOICES = ("auto", "require", "off")


def native_or_none() -> ModuleType | None:
    """Return the module `npufleet._native`, or None when it is off or not built.

    Raises `InvalidParameterError` for a word that is none of `CHOICES` and `UnavailableError` when it is required
    and cannot be loaded.
    """
    module, why = _decide()
    if module is None and _choice() == "require":
        raise UnavailableError(f"{VARIABLE} is 'require' but {why}")
    return module


def reason() -> str:
    """Say why the compiled core is or is not used, for people."""
    return _decide()[1]


def _choice() -> str:
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in CHOICES:
        raise InvalidParameterError(f"{VARIABLE} is {choice!r}; allowed: {', '.join(CHOICES)}")
    return choice


@cache
def _decide() -> tuple[ModuleType | None, str]:
    if _choice() == "off":
        return None, f"{VARIABLE} is 'off'"
    try:
        from npufleet import _native
    except ImportError as error:
        return None, f"the compiled core cannot be loaded: {error}"
    return _native, f"the compiled core {_native.version()} is loaded"
