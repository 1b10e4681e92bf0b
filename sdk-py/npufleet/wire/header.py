"""Names and values of message headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from npufleet.errors import InvalidParameterError
from npufleet.wire.document import DOCUMENT

_NAMES: Final[dict[str, str]] = DOCUMENT["headers"]

TRACEPARENT: Final = _NAMES["traceparent"]
TRACESTATE: Final = _NAMES["tracestate"]
DEADLINE: Final = _NAMES["deadline"]
CLAIM: Final = _NAMES["claim"]
CHANNEL: Final = _NAMES["channel"]
ACCEPT: Final = _NAMES["accept"]
PLACEMENT: Final = _NAMES["placement"]
MESSAGE_ID: Final = _NAMES["message_id"]
ENGINE: Final = _NAMES["engine"]
DEVICE: Final = _NAMES["device"]
FALLBACK_REASON: Final = _NAMES["fallback_reason"]
TIMING: Final = _NAMES["timing"]
BUNDLE: Final = _NAMES["bundle"]
BUNDLE_LIMIT: Final = _NAMES["bundle_limit"]
RETRY_AFTER: Final = _NAMES["retry_after"]
ERROR: Final = _NAMES["error"]
ERROR_CODE: Final = _NAMES["error_code"]
ERROR_KIND: Final = _NAMES["error_kind"]
JOB_ID: Final = _NAMES["job_id"]
SUBMITTED: Final = _NAMES["submitted"]
FINISHED: Final = _NAMES["finished"]
RETRIES: Final = _NAMES["retries"]
ATTEMPT_TIMEOUT: Final = _NAMES["attempt_timeout"]
ATTEMPT: Final = _NAMES["attempt"]
WORKER: Final = _NAMES["worker"]
OPERATION: Final = _NAMES["operation"]
IDEMPOTENCY_KEY: Final = _NAMES["idempotency_key"]
NOTIFY: Final = _NAMES["notify"]
HISTORY: Final = _NAMES["history"]
PAYLOAD: Final = _NAMES["payload"]
RETRY_OF: Final = _NAMES["retry_of"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a request's time went inside its worker, in microseconds."""

    queued: int = 0
    fetching: int = 0
    batching: int = 0
    executing: int = 0

    def __str__(self) -> str:
        return f"queued={self.queued};fetching={self.fetching};batching={self.batching};executing={self.executing}"

    @classmethod
    def parse(cls, text: str) -> Timing:
        """Return the value of an `Npu-Timing` header, or raise `InvalidParameterError`.

        Parts may come in any order, unknown ones are skipped, absent ones are 0.
        """
        parts = dict(part.partition("=")[::2] for part in text.split(";") if part)
        return cls(**{name: microseconds(TIMING, value) for name, value in parts.items() if name in cls.__slots__})


def microseconds(name: str, value: str) -> int:
    """Return the value of header `name`, or raise `InvalidParameterError` unless it is a number of 64 bits."""
    if not (value.isascii() and value.isdigit() and len(value) <= 20 and int(value) < 2**64):
        raise InvalidParameterError(f"header {name} is '{value:.80}'; allowed: microseconds as a decimal number")
    return int(value)


def one_line(text: str) -> str:
    """Return a text that a header can carry: one line of printable characters, at most 1000 of them."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:1000]
