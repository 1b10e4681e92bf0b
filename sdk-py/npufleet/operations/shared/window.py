"""The window that a request's parameters name, as SciPy takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npufleet.wire.rules.window import SHAPES

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params

Window = str | tuple[str, float]


def named(params: Params, default: Window = "hann") -> Window:
    """Return the window by name, with its beta, std or alpha if it has one; `default` when none is named."""
    name = params.get("window")
    if name is None:
        return default
    if name not in SHAPES:
        return str(name)
    parameter, absent = SHAPES[name]
    return name, float(params.get(parameter, absent))
