"""`echo`: the tensors unchanged, after a delay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import CallCancelledError
from npufleet.operations.shared import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params

POLL_S: Final = 0.005
"""How often a delay looks whether it is still wanted."""


def rows(_tensors: Mapping[str, NDArray[Any]], _params: Params) -> int:
    """Return 1: whatever it carries, an echo is one piece of work."""
    return 1


def execute(tensors: Mapping[str, NDArray[Any]], params: Params, stop: Callable[[], bool]) -> dict[str, NDArray[Any]]:
    """Return the tensors unchanged after `delay` seconds; raise `CallCancelledError` when `stop` ends the wait."""
    end = time.monotonic() + float(params["delay"])
    while (left := end - time.monotonic()) > 0:
        if stop():
            raise CallCancelledError("echo stopped before its delay was over")
        progress.report(1 - left / params["delay"])
        time.sleep(min(left, POLL_S))
    return dict(tensors)
