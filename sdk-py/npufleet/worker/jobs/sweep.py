"""Takes jobs that are over off the stream, many with one write to the disk.

An acknowledgement only moves the consumer's floor, below which every job is over; what lies there is removed at once.
Removed with it is what a broker that was killed had still to remove.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from npufleet.broker import streams
from npufleet.errors import FleetError
from npufleet.transport import jetstream
from npufleet.transport.together import together
from npufleet.wire.contract import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client

    from npufleet.worker.jobs.delivery import Delivery

ANSWER_S: Final = 5.0
MANY: Final = 256
"""Jobs that are over before they are worth a write, while more wait for the same consumer."""
PAUSE_S: Final = 0.25
LOOK_S: Final = 30.0
"""How often every consumer is looked at: others may have died before they came to it."""
HELD_S: Final = 5.0
HELD_MOST: Final = 1000
"""How long, and in front of how many jobs that are over, one that is not may hold the floor; then those are removed one
by one, lest the stream get full."""
AT_ONCE: Final = 64
PURGE_REFUSED: Final = 10110
"""The broker's word for a stream that must not be purged: it was made as a work queue, and removes jobs by itself."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Over:
    """What this worker has finished for one consumer; `since` when the floor has been where it is, None at first."""

    filters: tuple[str, ...]
    due: bool = True
    sequences: list[int] = field(default_factory=list)
    floor: int = 0
    since: float | None = None


class Sweep:
    """Removes the jobs that this worker has finished, and with them whatever lies below."""

    def __init__(self, client: Client, consumers: Mapping[str, Mapping[str, Any]], stream: str = streams.JOBS) -> None:
        self._client = client
        self._stream = stream
        self._over = {name: _Over(_filters(consumer)) for name, consumer in consumers.items()}
        self._bell = asyncio.Event()
        self._off = False

    def over(self, delivery: Delivery) -> None:
        """Note that a job is over: the broker has its acknowledgement."""
        if self._off:
            return
        over = self._over[delivery.consumer]
        over.sequences.append(delivery.sequence)
        if delivery.pending == 0 or len(over.sequences) >= MANY:
            over.due = True
            self._bell.set()

    async def run(self) -> None:
        """Remove what is over, again and again, unless the stream does so by itself."""
        while not self._off:
            await self.sweep()
            if any(over.due for over in self._over.values()):
                await asyncio.sleep(PAUSE_S)
                continue
            self._bell.clear()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._bell.wait()
            except TimeoutError:
                for over in self._over.values():
                    over.due = True

    async def sweep(self) -> None:
        """Remove what is over for the consumers that are due."""
        for name, over in self._over.items():
            if not over.due or self._off:
                continue
            try:
                await self._sweep(name, over)
            except FleetError as error:
                # They stay due; whoever ends is not held up for the rest of them.
                _log.warning("jobs that are over stay for now: %s", error)
                return

    async def _sweep(self, name: str, over: _Over) -> None:
        info = await jetstream.ask(self._client, f"CONSUMER.INFO.{self._stream}.{name}", None, ANSWER_S)
        floor = info["ack_floor"]["stream_seq"]
        if over.since is None or floor != over.floor:
            try:
                for each in over.filters:
                    question = {"filter": each, "seq": floor + 1}
                    await jetstream.ask(self._client, f"STREAM.PURGE.{self._stream}", question, ANSWER_S)
            except jetstream.RefusedError as error:
                if error.err_code != PURGE_REFUSED:
                    raise
                self._off = True
                return
            over.floor, over.since = floor, time.monotonic()
            over.sequences = [sequence for sequence in over.sequences if sequence > floor]
        if time.monotonic() - over.since > HELD_S and len(over.sequences) >= HELD_MOST:
            # One stays, and has the floor looked at until it moves.
            *held, last = over.sequences
            over.sequences = [last]
            await together(self._remove, held, AT_ONCE)
        left = len(over.sequences)
        over.due = left >= MANY or (left > 0 and info["num_pending"] == 0)

    async def _remove(self, sequence: int) -> None:
        try:
            body = {"seq": sequence, "no_erase": True}
            await jetstream.ask(self._client, f"STREAM.MSG.DELETE.{self._stream}", body, ANSWER_S)
        except FleetError as error:
            _log.warning("a job that is over stays until those before it are: %s", error)


def _filters(consumer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what covers a consumer's messages, and neither contains its own filter nor is contained in it.

    After a purge that concerns a consumer, the broker forgets what it was about to deliver again, until that is overdue
    once more.
    """
    prefix, _, rest = consumer["filter_subject"].removesuffix(">").partition(f".v{VERSION}.")
    return f"{prefix}.*.{rest}*", f"{prefix}.*.{rest}*.>"
