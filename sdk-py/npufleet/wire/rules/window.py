"""What `window`, and every operation that weights with one, demands of the window's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from npufleet.errors import InvalidParameterError

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors

SHAPES: Final[dict[str, tuple[str, float | None]]] = {
    "kaiser": ("beta", None),
    "gaussian": ("std", None),
    "tukey": ("alpha", 0.5),
}
"""The windows that a parameter shapes, with its name and its default; None where it must be given."""


def check(_tensors: Tensors, params: Params) -> None:
    """Refuse a window whose parameter is missing, and a parameter that shapes another window."""
    for window, (name, default) in SHAPES.items():
        if params.get("window") != window:
            if name in params:
                raise InvalidParameterError(f"parameter '{name}' is {params[name]}; allowed: only with window {window}")
        elif name not in params and default is None:
            raise InvalidParameterError(f"parameter '{name}' is missing; allowed: a number with window {window}")
