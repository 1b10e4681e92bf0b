"""What can go wrong, as one exception class per error kind of the contract.

    FleetError
    ├── InvalidFrameError        invalid_frame        400
    ├── InvalidParameterError    invalid_parameter    400
    ├── InvalidShapeError        invalid_shape        400
    ├── UnknownOperationError    unknown_operation    404
    ├── UnknownModelError        unknown_model        404
    ├── DeadlineExceededError    deadline_exceeded    408
    ├── PayloadLostError         payload_lost         410
    ├── PayloadTooLargeError     payload_too_large    413   size, limit
    ├── OverloadedError          overloaded           429   retry_after
    ├── CallCancelledError       cancelled            499
    ├── InternalError            internal             500
    ├── UnsupportedError         unsupported          501
    ├── DeviceLostError          device_lost          503
    ├── UnavailableError         unavailable          503
    └── UnknownOutcomeError      unknown              504   job_id

Kinds and codes are API, texts are not.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Retry = Literal["no", "yes", "other_engine", "send_again"]


class FleetError(Exception):
    """Anything that this package refuses or fails to do.

    `kind` and `code` are the contract's, `retry` says whether sending again can help, and `engine` is the
    engine that refused (`rust`, `python`) or None when the request was refused before it was sent.
    """

    kind: ClassVar[str]
    code: ClassVar[int]
    retry: ClassVar[Retry]

    def __init__(self, message: str, *, engine: str | None = None) -> None:
        super().__init__(message)
        self.engine = engine


class InvalidFrameError(FleetError):
    """Bytes that are no frame: truncated, oversized, mistyped or contradicting themselves."""

    kind, code, retry = "invalid_frame", 400, "no"


class InvalidParameterError(FleetError, ValueError):
    """A parameter that is unknown, of the wrong type or out of range."""

    kind, code, retry = "invalid_parameter", 400, "no"


class InvalidShapeError(FleetError, ValueError):
    """A tensor that is missing, superfluous, or of the wrong dtype, rank or shape."""

    kind, code, retry = "invalid_shape", 400, "no"


class UnknownOperationError(FleetError):
    """No engine of the fleet has the operation."""

    kind, code, retry = "unknown_operation", 404, "other_engine"


class UnknownModelError(FleetError):
    """The registry has no such model, or another version of it is served."""

    kind, code, retry = "unknown_model", 404, "other_engine"


class DeadlineExceededError(FleetError, TimeoutError):
    """The deadline passed before an answer came."""

    kind, code, retry = "deadline_exceeded", 408, "no"


class PayloadLostError(FleetError):
    """The claim's payload is gone or stale; sending the request again helps."""

    kind, code, retry = "payload_lost", 410, "send_again"


class PayloadTooLargeError(FleetError):
    """A frame of `size` bytes where `limit` bytes are allowed; each is None when the sender did not say."""

    kind, code, retry = "payload_too_large", 413, "no"

    def __init__(
        self,
        message: str,
        *,
        size: int | None = None,
        limit: int | None = None,
        engine: str | None = None,
    ) -> None:
        super().__init__(message, engine=engine)
        self.size = size
        self.limit = limit

    @classmethod
    def of(cls, size: int, limit: int) -> PayloadTooLargeError:
        """Build the error for a frame of `size` bytes against a limit of `limit` bytes."""
        return cls(f"frame is {size} bytes; allowed: {limit}", size=size, limit=limit)


class OverloadedError(FleetError):
    """The worker's queue is full; `retry_after` is its own estimate in seconds, or None."""

    kind, code, retry = "overloaded", 429, "yes"

    def __init__(self, message: str, *, retry_after: float | None = None, engine: str | None = None) -> None:
        super().__init__(message, engine=engine)
        self.retry_after = retry_after


class CallCancelledError(FleetError):
    """The call was cancelled, by its caller or by an operator."""

    kind, code, retry = "cancelled", 499, "no"


class InternalError(FleetError):
    """The engine failed at something that it should be able to do."""

    kind, code, retry = "internal", 500, "other_engine"


class UnsupportedError(FleetError):
    """The engine does not do this; another one may."""

    kind, code, retry = "unsupported", 501, "other_engine"


class DeviceLostError(FleetError):
    """The device disappeared while it was working."""

    kind, code, retry = "device_lost", 503, "other_engine"


class UnavailableError(FleetError, ConnectionError):
    """Nobody is there to answer: no broker, no worker, or no worker that is ready."""

    kind, code, retry = "unavailable", 503, "other_engine"


class UnknownOutcomeError(FleetError, ConnectionError):
    """Whether a job was accepted is not known; submitting it again with the same idempotency key has one effect.

    `job_id` is the id that the job has if it was accepted.
    """

    kind, code, retry = "unknown", 504, "send_again"

    def __init__(self, message: str, *, job_id: str | None = None, engine: str | None = None) -> None:
        super().__init__(message, engine=engine)
        self.job_id = job_id


BY_KIND: dict[str, type[FleetError]] = {
    error.kind: error
    for error in (
        InvalidFrameError,
        InvalidParameterError,
        InvalidShapeError,
        UnknownOperationError,
        UnknownModelError,
        DeadlineExceededError,
        PayloadLostError,
        PayloadTooLargeError,
        OverloadedError,
        CallCancelledError,
        InternalError,
        UnsupportedError,
        DeviceLostError,
        UnavailableError,
        UnknownOutcomeError,
    )
}
"""Every error class by its kind, in the contract's order."""


def from_kind(
    kind: str,
    message: str,
    *,
    engine: str | None = None,
    retry_after: float | None = None,
    size: int | None = None,
    limit: int | None = None,
) -> FleetError:
    """Build the exception for an error kind read from a reply.

    `retry_after` is in seconds, `size` and `limit` in bytes; each is dropped where the kind has no such attribute.
    A kind that this version does not know becomes an `InternalError` that names it.
    """
    if kind == OverloadedError.kind:
        return OverloadedError(message, retry_after=retry_after, engine=engine)
    if kind == PayloadTooLargeError.kind:
        return PayloadTooLargeError(message, size=size, limit=limit, engine=engine)
    if kind in BY_KIND:
        return BY_KIND[kind](message, engine=engine)
    return InternalError(f"unknown error kind {kind!r}: {message}", engine=engine)
