"""Names and values of message headers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from npufleet.errors import InvalidFrameError
from npufleet.wire.contract import DOCUMENT

_NAMES: Final[dict[str, str]] = DOCUMENT["headers"]

TRACEPARENT: Final = _NAMES["traceparent"]
TRACESTATE: Final = _NAMES["tracestate"]
DEADLINE: Final = _NAMES["deadline"]
CLAIM: Final = _NAMES["claim"]
MESSAGE_ID: Final = _NAMES["message_id"]
ENGINE: Final = _NAMES["engine"]
DEVICE: Final = _NAMES["device"]
FALLBACK_REASON: Final = _NAMES["fallback_reason"]
TIMING: Final = _NAMES["timing"]
RETRY_AFTER: Final = _NAMES["retry_after"]
ERROR: Final = _NAMES["error"]
ERROR_CODE: Final = _NAMES["error_code"]
ERROR_KIND: Final = _NAMES["error_kind"]

_TIMING: Final = re.compile(r"queued=(\d{1,19});fetching=(\d{1,19});batching=(\d{1,19});executing=(\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a request's time went inside its worker, in microseconds."""

    queued: int
    fetching: int
    batching: int
    executing: int

    def __str__(self) -> str:
        return f"queued={self.queued};fetching={self.fetching};batching={self.batching};executing={self.executing}"

    @classmethod
    def parse(cls, text: str) -> Timing:
        """Return the value of an `Npu-Timing` header, or raise `InvalidFrameError`."""
        found = _TIMING.fullmatch(text)
        if found is None:
            raise InvalidFrameError(f"header {TIMING} is {text[:80]!r}")
        return cls(*map(int, found.groups()))


def one_line(text: str) -> str:
    """Return a text that a header can carry: one line of printable characters, at most 1000 of them."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:1000]
