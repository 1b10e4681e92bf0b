"""The compiled core: calls in flight over one connection, and the Rust operations."""

from typing import Any, final

@final
class Client:
    """A connection to the broker, on a thread of its own.

    Nothing blocks but construction and `close`, and both let other Python threads run meanwhile. In a child that
    was forked after construction every method raises `RuntimeError`.
    """

    def __new__(cls, options_json: str) -> Client:
        """Connect with the fields of `ConnectOptions` as a JSON object; raises `UnavailableError`."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when `drain` has something."""

    def submit(self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None, future: Any) -> int:
        """Send a frame and return the call's number; `future` comes back from `drain` with the outcome.

        `deadline_us` is in unix microseconds. Raises `PayloadTooLargeError` (`size`, `limit`) when the broker would
        not take the message, `UnavailableError` after `close`.
        """

    def drain(self) -> list[tuple[Any, Reply | tuple[str, str]]]:
        """Take what came back since the last time, each with its outcome: a reply, or an error kind and message."""

    def cancel(self, sequence: int) -> None:
        """Forget a call and tell the workers; its future does not come back. Unknown numbers are ignored."""

    @property
    def max_payload(self) -> int:
        """Bytes that the broker takes in one message, headers included."""

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""

    def close(self) -> None:
        """End the connection; calls in flight come back as `unavailable`. Closing again does nothing."""

@final
class Reply:
    """The answer of a worker, or of the broker when nobody listens."""

    @property
    def status(self) -> int:
        """0 for a worker's reply, 503 when nobody subscribes to the subject."""

    @property
    def payload(self) -> bytes:
        """The frame; empty when a worker answers with an error."""

    def header(self, name: str) -> str | None:
        """One header of the reply, or None."""

def version() -> str:
    """Return the version of the compiled core."""
