"""What `stft` demands of its axis, its segments and its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npufleet.wire.rules import segments
from npufleet.wire.rules.common import check_shape, position

if TYPE_CHECKING:
    from npufleet.wire.rules.common import Params, Tensors


def check(tensors: Tensors, params: Params) -> None:
    """Refuse an axis that x lacks or that is empty, segments that do not fit it, and spectra too large."""
    shape_of(tensors, params)


def shape_of(tensors: Tensors, params: Params) -> tuple[segments.Segments, tuple[int, ...]]:
    """Return the segments and the shape of the spectra, or refuse them."""
    dtype, shape = tensors["x"]
    axis = position(params, len(shape))
    samples = segments.line_length(tensors, params, axis)
    cut = segments.check(tensors, params, samples, overlap=2)
    if params["boundary"] != "none":
        samples += 2 * (cut.nperseg // 2)
    if params["padded"]:
        samples += -(samples - cut.nperseg) % (cut.nperseg - cut.noverlap)
    result = (*shape[:axis], cut.bins, *shape[axis + 1 :], cut.count(samples))
    check_shape(dtype, result, is_complex=True)
    return cut, result
