"""Element types of the contract: the safetensors word, the NumPy dtype, bytes per element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from npufleet.wire.document import DOCUMENT

COMPLEX128: Final = "C128"
"""The one word that safetensors lacks: it is stored as `F64` with a last dimension of 2."""


@dataclass(frozen=True, slots=True)
class Dtype:
    """One element type; `numpy` is its little-endian NumPy dtype and `stored` its word in a frame's header."""

    word: str
    stored: str
    numpy: np.dtype[Any]
    size: int


DTYPES: Final[dict[str, Dtype]] = {
    word: Dtype(
        word=word,
        stored="F64" if word == COMPLEX128 else word,
        numpy=np.dtype(row["numpy"]).newbyteorder("<"),
        size=row["bytes"],
    )
    for word, row in DOCUMENT["dtypes"].items()
}
"""Every element type by its word."""

_BY_NUMPY: Final[dict[np.dtype[Any], Dtype]] = {
    **{dtype.numpy: dtype for dtype in DTYPES.values()},
    **{dtype.numpy.newbyteorder(">"): dtype for dtype in DTYPES.values()},
}


def of(dtype: np.dtype[Any]) -> Dtype | None:
    """Return the element type of a NumPy dtype of either byte order, or None when a frame cannot hold it."""
    return _BY_NUMPY.get(dtype)
