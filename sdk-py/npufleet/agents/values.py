"""What agents say to each other: a mapping of names to arrays and JSON values, as one frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import FleetError, InvalidFrameError, InvalidParameterError
from npufleet.wire import frame, header

if TYPE_CHECKING:
    from npufleet.errors import FleetError as Error

MAPPING: Final = "a mapping of names to arrays and JSON values"


def encode(field: str, values: object, *, as_json: bool = False) -> bytes:
    """Return a mapping as a frame, or as JSON text with arrays as lists; raises `InvalidParameterError`."""
    if values is None:
        values = {}
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise InvalidParameterError(f"{field} is {values!r:.80}; allowed: {MAPPING}")
    arrays = {name: value for name, value in values.items() if hasattr(value, "__array__") and np.ndim(value)}
    plain = {name: _plain(value) for name, value in values.items() if name not in arrays}
    if not as_json:
        return frame.encode(arrays, plain)
    try:
        return json.dumps({**plain, **{name: np.asarray(value).tolist() for name, value in arrays.items()}}).encode()
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(f"{field} is no JSON: {error}") from error


def decode(data: bytes) -> tuple[dict[str, Any], bool]:
    """Return a mapping, and whether it came as JSON text; no bytes at all are an empty one.

    Raises `InvalidFrameError` for anything else.
    """
    if not data:
        return {}, False
    try:
        arrays, params = frame.decode(data)
    except FleetError as error:
        try:
            values = json.loads(data)
        except (ValueError, RecursionError):
            raise error from None
        if not isinstance(values, dict):
            raise InvalidFrameError(f"the message is {values!r:.80}; allowed: a frame, or a JSON object") from None
        return values, True
    return {**params, **arrays}, False


def failure(error: Error) -> dict[str, str]:
    """Return the headers that say what went wrong."""
    said = header.one_line(str(error)) or error.kind
    return {header.ERROR: said, header.ERROR_CODE: str(error.code), header.ERROR_KIND: error.kind}


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic | np.ndarray) else value
