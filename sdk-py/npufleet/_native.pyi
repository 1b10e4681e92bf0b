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

    def submit(self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None, future: Any) -> None:
        """Take a frame to send, at `flush` at the latest; `future` comes back from `drain` with the outcome.

        `future` may be any object that is in flight only once. `deadline_us` is in unix microseconds. Raises
        `PayloadTooLargeError` (`size`, `limit`) when the broker would not take the message, `UnavailableError` after
        `close`.
        """

    def flush(self) -> None:
        """Send what was submitted; to be called once after each burst of calls."""

    def drain(self) -> list[tuple[Any, Reply | tuple[str, str]]]:
        """Take what came back since the last time, each with its outcome: a reply, or an error kind and message."""

    def cancel(self, future: Any) -> None:
        """Forget a call and tell the workers; `future` does not come back. One that has come back is ignored."""

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

def execute(operation: str, frame: bytes) -> bytes:
    """Run the Rust engine's `operation` on a frame and return the reply frame.

    Checks the contract first and raises what a worker would answer. Lets other Python threads run meanwhile.
    """

def run_worker(config_json: str) -> None:
    """Serve calls with the options in `config_json` until SIGTERM or SIGINT, then finish what was accepted.

    Blocks, lets other Python threads run, and takes both signals over from Python meanwhile. Raises
    `InvalidParameterError` for options that it does not know or cannot read and `UnavailableError` when it could not
    start.
    """

def version() -> str:
    """Return the version of the compiled core."""
