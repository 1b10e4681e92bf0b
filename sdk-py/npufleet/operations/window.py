"""`window`: window functions, by SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npufleet.operations.shared import window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params


def rows(_tensors: Mapping[str, NDArray[Any]], _params: Params) -> int:
    """Return 1: a window is one piece of work."""
    return 1


def execute(_tensors: Mapping[str, NDArray[Any]], params: Params, _stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return weights `y`: `n` doubles of the window that the parameters name, periodic if `fftbins`."""
    # Importing SciPy takes longer than a whole request; only a worker that is asked for a window pays for it.
    from scipy import signal  # type: ignore[import-untyped]

    return {"y": signal.get_window(window.named(params), params["n"], params["fftbins"])}
