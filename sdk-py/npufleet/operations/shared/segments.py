"""What SciPy's functions over windowed segments have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npufleet.wire import dtype as dtypes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from npufleet.wire.rules.common import Params, Tensors
    from npufleet.wire.rules.segments import Segments


def described(tensors: Mapping[str, NDArray[Any]]) -> Tensors:
    """Return arrays that a contract has passed as its rules see them: dtype word and shape by name."""
    return {name: (row.word, array.shape) for name, array in tensors.items() if (row := dtypes.of(array.dtype))}


def arguments(params: Params, x: NDArray[Any]) -> dict[str, Any]:
    """Return the arguments that every such function of SciPy takes, but for the window and the segments."""
    return {
        **{name: params[name] for name in ("fs", "scaling", "axis")},
        "detrend": False if params["detrend"] == "none" else params["detrend"],
        "return_onesided": params.get("return_onesided", x.dtype.kind != "c"),
    }


def lengths(cut: Segments) -> dict[str, int]:
    """Return the lengths of the segments as arguments."""
    return {"nperseg": cut.nperseg, "noverlap": cut.noverlap, "nfft": cut.nfft}
