"""One accepted request and what is known about it while it is in the worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from npufleet.errors import FleetError
    from npufleet.operations.pipeline import Done
    from npufleet.payload.exchange import Loan, Reader
    from npufleet.telemetry.worker import Caller
    from npufleet.worker.endpoint import Endpoint
    from npufleet.worker.inference import Model


@dataclass(slots=True, eq=False)
class Request:
    """One request from admission to answer.

    `deadline` is unix microseconds; `arrived`, `decoded`, `dequeued`, `started` and `finished` are readings of
    `time.perf_counter_ns`. Requests with equal `key` can be executed as one batch; None means alone.
    `answered` is written by the event loop only; whoever executes polls it through `stop`. `progress` (0 to 1) is
    written by whoever executes, and looked at by the event loop.
    """

    endpoint: Endpoint
    lane: int
    reply: str
    call_id: str | None
    deadline: int
    tensors: dict[str, NDArray[Any]]
    params: dict[str, Any]
    payload_bytes: int
    rows: int
    key: Hashable | None
    model: Model | None
    arrived: int
    decoded: int
    fallback_reason: str | None = None
    placement: str = "inline"
    reader: Reader | None = None
    """Who is to have the result, when the caller takes claims."""

    caller: Caller | None = None
    estimate: float = 0.0
    dequeued: int = 0
    started: int = 0
    finished: int = 0
    taken: bool = False
    answered: bool = False
    progress: float = 0.0
    done: asyncio.Future[Outcome] | None = None
    """Of a job: who waits for its outcome in this process; a call's goes to the caller."""

    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return time.time() * 1e6 > self.deadline

    def advance(self, done: float) -> None:
        """Note how far the execution is."""
        self.progress = done

    def stop(self) -> bool:
        """Whether nobody waits for the result any more; long operations poll it."""
        return self.answered or self.expired()


@dataclass(slots=True)
class Outcome:
    """What became of one request: a reply frame and the device that made it, or an error.

    `rows`, `members` and `links` are those of the whole batch that it was executed in; links are the callers.
    """

    request: Request
    frame: bytes = b""
    device: str | None = None
    error: FleetError | None = None
    rows: int = 0
    members: int = 0
    links: Sequence[Caller] = ()
    loan: Loan | None = None
    """Where the frame is, when it is not in `frame`."""

    steps: Sequence[Done] = ()
    """Those of a pipeline, as far as they were executed."""
