"""Pages for large arrays ahead of their being written.

A system gives memory without pages, and makes each of them at the first write to it, which takes several times as long
as that write. Where arrays are filled by one thread, another can have the pages made meanwhile.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_BYTES: Final = 16 << 20
"""Below it a thread is not worth its while."""

_STEP: Final = 8 << 20
"""So many bytes at once: whoever writes, or frees memory, waits for no more."""

_PAGE: Final = 4096
_MADV_POPULATE_WRITE: Final = 23
"""Of Linux 5.14 and later; what is in the pages stays."""


def populate(array: NDArray[Any]) -> Thread | None:
    """Begin to have pages made for an array; returns the thread that does, None where that gains or does nothing.

    The array is not kept: the thread ends when nobody else has it.
    """
    if array.nbytes < LEAST_BYTES or sys.platform != "linux":
        return None
    first = -(-array.ctypes.data // _PAGE) * _PAGE
    end = (array.ctypes.data + array.nbytes) // _PAGE * _PAGE
    thread = Thread(target=_populate, args=(weakref.ref(array), first, end), name="npufleet-pages", daemon=True)
    thread.start()
    return thread


def _populate(reference: weakref.ref[NDArray[Any]], first: int, end: int) -> None:
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start in range(first, end, _STEP):
        array = reference()
        # An older kernel refuses: then whoever writes has the pages made, as ever.
        if array is None or madvise(start, min(_STEP, end - start), _MADV_POPULATE_WRITE):
            return
        del array
