"""Memory that goes back to the system when a model goes."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_ARENA_MAX: Final = -8
"""As glibc numbers it."""


def keep_one_arena() -> None:
    """Have all threads that start from now on share one arena of the C library, as far as it has such.

    glibc gives back what is free at the end of its main arena, and keeps what is free at the end of the others: in a
    worker of many threads the weights of the last models. A lock that seldom waits is what that costs beside the GIL.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give what was freed back to the system; takes some milliseconds. Nothing happens where the C library cannot."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
