"""Carry a frame to a subject and its reply back: one small protocol, two implementations.

`options` says how to reach the broker; `native` is the compiled core, `pure` speaks through nats-py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol

from npufleet.errors import InvalidParameterError, UnavailableError
from npufleet.transport.options import ConnectOptions

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "ConnectOptions",
    "Flight",
    "HalfTime",
    "JobBatch",
    "JobRoute",
    "Request",
    "Route",
    "Transport",
    "hint",
    "open_transport",
]

NO_RESPONDERS = 503


class Flight(Protocol):
    """One request in flight, and once it is done its reply: of a worker, or of the broker when nobody listens.

    To be awaited, or watched with callbacks like an asyncio future. Awaiting it raises `DeadlineExceededError` at the
    deadline and `UnavailableError` when the connection breaks; cancelling it tells the workers to drop the work.
    """

    @property
    def origin(self) -> Any:
        """What was given with the request."""
        ...

    @property
    def deadline_us(self) -> int:
        """When it must have been answered, in unix microseconds."""
        ...

    @property
    def headers(self) -> dict[str, str] | None:
        """The further headers that it was sent with."""
        ...

    @property
    def frame(self) -> bytes:
        """The frame that was sent, as long as there is no good reply."""
        ...

    @property
    def placement(self) -> str:
        """Which way the frame that was sent goes: `inline` through the broker, or by `arena`."""
        ...

    @property
    def plain(self) -> bool:
        """Whether the reply is a frame by a Rust worker and without a fallback, as nearly all are."""
        ...

    @property
    def status(self) -> int:
        """0 for a worker's reply, 503 when nobody subscribes to the subject."""
        ...

    @property
    def payload(self) -> bytes | memoryview:
        """The reply frame; empty when the worker answers with an error."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the reply's arrays, as read-only views of its frame; raises `InvalidFrameError` when it is none."""
        ...

    def header(self, name: str) -> str | None:
        """One header of the reply, or None."""
        ...

    def answer(self, other: Any) -> None:
        """End with the reply of another flight, which has one."""
        ...

    def cancel(self) -> bool:
        """Forget the request and tell the workers to drop it; false when it has ended already."""
        ...

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        ...

    def exception(self) -> BaseException | None:
        """How it failed, or None; for one that has ended."""
        ...

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Have `callback(flight)` called when it has ended."""
        ...

    def __await__(self) -> Generator[Any, None, Any]: ...


HalfTime = Callable[[Any], None]
"""Takes a flight that has half of its time behind it."""


class Route(Protocol):
    """The short way for requests to one subject that are like one before."""

    def begin(self, tensors: object, params: object, timeout: float, headers: dict[str, str] | None) -> Flight | None:
        """Send tensors with parameters or None, or return None when they have to be looked at first."""
        ...

    def learn(self, tensors: object, params: object, frame: bytes) -> None:
        """Remember how the frame of these tensors was made, so that the next like it are begun at once."""
        ...


class JobRoute(Protocol):
    """The short way for jobs to one subject that are like one before.

    What it sends is stored by a stream: its flight is `plain` when the broker has it, fails as `unknown` when nobody
    knows, and has the frame until it is stored.
    """

    def begin(
        self, tensors: object, seconds: float, headers: dict[str, str] | None = None, job_id: str | None = None
    ) -> Flight | None:
        """Send a job, with further headers, or return None when it has to be looked at first or nothing can be sent.

        The flight's origin is the job's id: `job_id`, or one at random.
        """
        ...

    def learn(self, tensors: object, frame: bytes) -> None:
        """Remember how the frame of these tensors was made, so that the next like it are begun at once."""
        ...

    def batch(self) -> JobBatch | None:
        """Begin an atomic batch; None when nothing can be sent."""
        ...


class JobBatch(Protocol):
    """At most 1,000 jobs of one route, which the broker stores all at once or not at all."""

    def extend(self, many: list[Any], start: int, stop: int, headers: dict[str, str] | None = None) -> int:
        """Add `many[start:stop]`; return how many, up to one that has to be looked at or has no room."""
        ...

    def append(self, frame: bytes, headers: dict[str, str] | None = None, job_id: str | None = None) -> bool:
        """Add the job on a frame; false when it has no room."""
        ...

    def send(self, seconds: float) -> Flight:
        """Send it; raises `PayloadTooLargeError` before anything is sent."""
        ...

    @property
    def ids(self) -> list[str]:
        """The ids of its jobs."""
        ...

    def jobs(self) -> list[tuple[str, bytes, dict[str, str] | None]]:
        """Its jobs: id, frame, further headers."""
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

    @property
    def placements(self) -> dict[str, int]:
        """How many requests went which way: `inline` through the broker, by `arena`."""
        ...

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array to fill and send: from where it is, if the transport can do that."""
        ...

    @property
    def request(self) -> Request:
        """Send a frame."""
        ...

    def request_inline(
        self, subject: str, frame: bytes, deadline_us: int, headers: dict[str, str] | None, origin: Any
    ) -> Flight:
        """Send a frame through the broker that was lost on another way; raises what `request` raises."""
        ...

    def accept(self) -> bool:
        """Have results come by claim where caller and worker see the same memory; false when this process has none."""
        ...

    def on_half_time(self, half_time: HalfTime) -> None:
        """Call `half_time` with each flight that asked for it and has half of its time behind it."""
        ...

    def route(self, subject: str, main_input: str | None, origin: object) -> Route:
        """Return the short way for requests to one subject; `main_input` is the name of a bare array.

        What it sends has `origin`, and hears of half-times.
        """
        ...

    def job_route(self, subject: str, main_input: str | None, headers: dict[str, str]) -> JobRoute | None:
        """Return the short way for jobs to one subject, all with these headers; None when there is none."""
        ...

    async def close(self) -> None:
        """Fail what is in flight with `UnavailableError` and disconnect."""
        ...


class Request(Protocol):
    """How a transport sends a frame; raises `PayloadTooLargeError` before anything is sent."""

    def __call__(
        self,
        subject: str,
        frame: bytes,
        deadline_us: int,
        headers: dict[str, str] | None = None,
        origin: Any = None,
        half_time: bool = False,
    ) -> Flight:
        """Send a frame that must be answered by `deadline_us` (unix microseconds)."""
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
