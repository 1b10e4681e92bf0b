"""Carry a frame to a subject and its reply back: one small protocol, two implementations.

`options` says how to reach the broker; `native` is the compiled core, `pure` speaks through nats-py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from npufleet.errors import InvalidParameterError, UnavailableError
from npufleet.transport.options import ConnectOptions

if TYPE_CHECKING:
    import asyncio

__all__ = ["ConnectOptions", "Reply", "Transport", "hint", "open_transport"]

NO_RESPONDERS = 503


class Reply(Protocol):
    """One answer: of a worker, or of the broker when nobody listens."""

    @property
    def status(self) -> int:
        """0 for a worker's reply, 503 when nobody subscribes to the subject."""
        ...

    @property
    def payload(self) -> bytes:
        """The reply frame; empty when the worker answers with an error."""
        ...

    def header(self, name: str) -> str | None:
        """One header of the reply, or None."""
        ...


class Transport(Protocol):
    """A connection to the broker, bound to the event loop that opened it."""

    @property
    def name(self) -> str:
        """`native` or `pure`."""
        ...

    @property
    def max_payload(self) -> int:
        """Bytes the broker takes in one message, headers included."""
        ...

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""
        ...

    def request(
        self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None = None
    ) -> asyncio.Future[Reply]:
        """Send a frame and return the future of its reply.

        The future fails with `DeadlineExceededError` at `deadline_us` (unix microseconds) and with
        `UnavailableError` when the connection breaks. Raises `PayloadTooLargeError` before anything is sent.
        """
        ...

    def cancel(self, future: asyncio.Future[Reply]) -> None:
        """Forget a request and tell the workers to drop it."""
        ...

    async def close(self) -> None:
        """Fail what is in flight with `UnavailableError` and disconnect."""
        ...


async def open_transport(options: ConnectOptions, which: str | None = None) -> Transport:
    """Connect by the transport asked for: `native`, `pure`, or None for the one `NPUFLEET_NATIVE` chooses.

    Raises `UnavailableError` when the broker cannot be reached or `native` is asked for and not built.
    """
    if which not in (None, "native", "pure"):
        raise InvalidParameterError(f"transport is {which!r}; allowed: native, pure")
    if which != "pure":
        from npufleet import _engine

        if _engine.native_or_none() is not None:
            from npufleet.transport import native

            try:
                return await native.open(options)
            except UnavailableError as error:
                raise UnavailableError(f"{error}; {hint(str(error))}") from error
        if which == "native":
            raise UnavailableError(f"the native transport is not available: {_engine.reason()}")
    from npufleet.transport import pure

    return await pure.open(options)


def hint(reason: str) -> str:
    """Return what helps against a refused connection, for the end of its error text."""
    if "authoriz" in reason.lower():
        return "give user= and password=, token= or credentials="
    if "certificate" in reason.lower():
        return "give tls_ca= with the authority that signed the broker's certificate"
    return "start a fleet with `npufleet up`, or give its address as url= or NPUFLEET_URL"
