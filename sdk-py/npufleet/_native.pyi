"""The compiled core: calls in flight over one connection, and the Rust operations."""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, final

from numpy.typing import NDArray

@final
class Client:
    """A connection to the broker, on a thread of its own.

    Nothing blocks but construction and `close`, and both let other Python threads run meanwhile. In a child that
    was forked after construction every method raises `RuntimeError`.
    """

    def __new__(cls, options_json: str) -> Client:
        """Connect with the fields of `ConnectOptions` as a JSON object; raises `UnavailableError`."""

    def attach(
        self,
        event_loop: asyncio.AbstractEventLoop,
        flush_soon: Callable[[], object],
        half_time: Callable[[Any], None],
    ) -> None:
        """Name the event loop that calls `resolve`, what has `flush` called soon, and what takes half-times."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when `resolve` has something to do."""

    def request(
        self,
        subject: str,
        frame: bytes,
        deadline_us: int,
        headers: dict[str, str] | None = None,
        origin: Any = None,
        half_time: bool = False,
        by_claim: bool = True,
    ) -> Flight:
        """Take a frame to send, at `flush` at the latest, and return its flight.

        `deadline_us` is in unix microseconds. Raises `PayloadTooLargeError` (`size`, `limit`) when the broker would
        not take the message, `UnavailableError` after `close`.
        """

    def accept(self) -> bool:
        """Have results come by claim from now on where they can; false when this process has no shared memory."""

    def make(self, length: int) -> Block | None:
        """Memory for an array that is to be sent, in shared memory; None without room."""

    @property
    def placements(self) -> tuple[int, int]:
        """How many requests went inline and by arena."""

    def usage(self) -> tuple[int, int]:
        """Bytes of shared memory behind this process's slots, and how many slots are in use."""

    def route(self, subject: str, main_input: str | None, origin: object) -> Route:
        """Make a way for requests to one subject; flights that it begins have `origin` and half-times."""

    def job_route(self, subject: str, main_input: str | None, headers: dict[str, str]) -> JobRoute:
        """Make a way for jobs to one subject, all with these headers."""

    def flush(self) -> None:
        """Send what was submitted; to be called once after each burst of calls."""

    def resolve(self) -> None:
        """Complete the flights that came back since the last time, and let the tasks that wait for them go on."""

    @property
    def max_payload(self) -> int:
        """Bytes that the broker takes in one message, headers included."""

    @property
    def state(self) -> str:
        """`connected`, `reconnecting` or `closed`."""

    def close(self) -> None:
        """End the connection; flights fail as `unavailable` at the next `resolve`. Closing again does nothing."""

@final
class Route:
    """Where the requests for one operation, model and lane go."""

    def begin(self, tensors: object, params: object, timeout: float, headers: dict[str, str] | None) -> Flight | None:
        """Send tensors; None when that is for Python to look at, which then raises or calls `learn`."""

    def learn(self, tensors: object, params: object, frame: bytes) -> None:
        """Remember the header of a frame that Python made of these tensors, if all such frames are made alike."""

@final
class JobRoute:
    """Where jobs go that differ in their tensors only."""

    def begin(
        self, tensors: object, seconds: float, headers: dict[str, str] | None = None, job_id: str | None = None
    ) -> Flight | None:
        """Send a job; None when its tensors are for Python to look at, or there is no connection now.

        The flight's origin is the job's id: `job_id`, or one at random. `headers` are further ones. It fails as
        `unknown` when there is no answer within so many seconds.
        """

    def learn(self, tensors: object, frame: bytes) -> None:
        """Remember the header of a frame that Python made of these tensors, if all such frames are made alike."""

    def batch(self) -> JobBatch | None:
        """Begin an atomic batch; None when there is no connection now."""

@final
class JobBatch:
    """Jobs of one route that are sent together; it is filled, and then sent."""

    def extend(self, many: list[Any], start: int, stop: int, headers: dict[str, str] | None = None) -> int:
        """Add the jobs on `many[start:stop]`, all with these further headers.

        Returns how many, up to one that is for Python to look at or has no room.
        """

    def append(self, frame: bytes, headers: dict[str, str] | None = None, job_id: str | None = None) -> bool:
        """Add the job on a frame that Python made; false when it has no room."""

    def send(self, seconds: float) -> Flight:
        """Send it; the flight is `plain` once the broker has stored all of it."""

    @property
    def ids(self) -> list[str]:
        """The ids of its jobs."""

    def jobs(self) -> list[tuple[str, bytes, dict[str, str] | None]]:
        """Its jobs: id, frame, further headers."""

    def __len__(self) -> int: ...

@final
class Block:
    """Bytes, mostly in shared memory, which are free when the last buffer of them is gone."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Flight:
    """A request in flight and, once it is done, its reply; asyncio takes it for a future. See `Flight` in transport."""

    @property
    def origin(self) -> Any: ...
    @property
    def deadline_us(self) -> int: ...
    @property
    def headers(self) -> dict[str, str] | None: ...
    @property
    def frame(self) -> bytes: ...
    @property
    def plain(self) -> bool: ...
    @property
    def status(self) -> int: ...
    @property
    def payload(self) -> bytes | memoryview: ...
    @property
    def placement(self) -> str: ...
    def tensors(self) -> dict[str, NDArray[Any]]: ...
    def header(self, name: str) -> str | None: ...
    def answer(self, other: Flight) -> None: ...
    def cancel(self, msg: Any = None) -> bool: ...
    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def result(self) -> Flight: ...
    def exception(self) -> BaseException | None: ...
    def add_done_callback(self, callback: Callable[[Any], object], /, *, context: Context | None = None) -> None: ...
    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int: ...
    def get_loop(self) -> asyncio.AbstractEventLoop: ...
    def __await__(self) -> Generator[Any]: ...

@final
class ChannelAsker:
    """The asking side of the payload channel, for any number of threads."""

    def __new__(cls) -> ChannelAsker: ...
    def fetch(self, address: str, claim: str, *, limit: int, timeout: float, release: bool = False) -> bytes:
        """Fetch the frame of a claim from an address; both are header values. Lets other Python threads run meanwhile.

        Raises what the `fetch` of `npufleet.payload.channel.asker` raises.
        """

@final
class ChannelOwner:
    """The asked side of the payload channel; end it with `close`."""

    def __new__(cls, endpoint: str | None = None, security: str = "auto") -> ChannelOwner:
        """Listen at `tcp://<IP address>:<port>`, `*` for any; raises as `npufleet.payload.channel.owner.Owner`."""

    @property
    def address(self) -> str:
        """Where others can ask: the value of `Npu-Channel`."""

    def add(self, source: Any) -> None:
        """Lend frames from an arena from now on.

        `source` has `arena`, `borrow(slot, generation, length) -> bytes` and `release(slot, generation)`, which the
        channel's thread calls.
        """

    def close(self) -> None:
        """End it; closing again does nothing."""

def execute(operation: str, frame: bytes) -> Block:
    """Run the Rust engine's `operation` on a frame and return the reply frame, in memory of its own.

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
