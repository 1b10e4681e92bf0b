"""Memory that goes back to the system when a model goes."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Give what was freed back to the system; takes some milliseconds. Nothing happens where the C library cannot."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
