"""Asks the consumers of a stream for as many jobs as there are free places, and waits where there is nothing to do."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.broker import streams
from npufleet.worker.jobs.delivery import Delivery
from npufleet.worker.jobs.places import Places

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

PRIORITY: Final = 1
"""Rust workers ask with 0 and are served first."""

WAIT_S: Final = 30.0
FETCH_S: Final = 5.0
ABSENT_S: Final = 1.0
_NO_RESPONDERS: Final = "503"

_log = logging.getLogger(__name__)


class Puller:
    """Fills the free places of one worker; `free` says how many there are, `deliver` gets each job."""

    def __init__(
        self,
        client: Client,
        consumers: Iterable[str],
        free: Callable[[], int],
        deliver: Callable[[Delivery], None],
        stream: str = streams.JOBS,
    ) -> None:
        self._client = client
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}."
        self._places = Places(consumers)
        self._free = free
        self._deliver = deliver
        self._changed = asyncio.Event()
        self._stopped = False
        self._absent = False
        self._fetches: dict[str, tuple[int, asyncio.Future[None]]] = {}
        self._subscriptions: set[Subscription] = set()

    def wake(self) -> None:
        """Look again: a place is free."""
        self._changed.set()

    def reconnected(self) -> None:
        """Ask again: what was asked before went with the connection."""
        for _, done in self._fetches.values():
            if not done.done():
                done.set_result(None)
        self._changed.set()

    async def run(self) -> None:
        """Take jobs until `stop`."""
        fetching = await self._listen("fetch")
        while not self._stopped:
            if self._absent:
                self._absent = False
                await self._pause(ABSENT_S)
            elif (free := self._free()) <= 0:
                await self._pause(WAIT_S)
            elif shares := self._places.share(free):
                await self._fetch(fetching, shares)
            else:
                await self._wait_for_work()

    async def stop(self) -> None:
        """Ask for no more; returns when what the broker had sent by then has been delivered."""
        self._stopped = True
        self._changed.set()
        await asyncio.gather(*(self._end(subscription) for subscription in list(self._subscriptions)))

    async def _pause(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _fetch(self, subscription: Subscription, shares: Counter[str]) -> None:
        """Take what waits already, without waiting for more."""
        loop = asyncio.get_running_loop()
        waiting = []
        for consumer, count in shares.items():
            done = loop.create_future()
            self._fetches[consumer] = count, done
            waiting.append(done)
            await self._ask(subscription, consumer, {"batch": count, "no_wait": True})
        _, late = await asyncio.wait(waiting, timeout=FETCH_S)
        self._fetches.clear()
        if late and not self._stopped:
            # The connection was lost on the way; whatever comes after all is taken all the same.
            self._absent = True

    async def _wait_for_work(self) -> None:
        """Wait at every consumer at once, for one job each; the first one ends the waiting."""
        subscription = await self._listen("wait")
        nanoseconds = round(WAIT_S * streams.NANOSECONDS)
        self._changed.clear()
        for consumer in self._places.waiting:
            await self._ask(subscription, consumer, {"batch": 1, "expires": nanoseconds})
        try:
            async with asyncio.timeout(WAIT_S):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            # The server forgets the requests of a subscription that has gone.
            await self._end(subscription)

    async def _ask(self, subscription: Subscription, consumer: str, request: dict[str, Any]) -> None:
        body = json.dumps({**request, "group": streams.GROUP, "priority": PRIORITY}).encode()
        try:
            inbox = subscription.subject.replace("*", consumer)
            await self._client.publish(self._next + consumer, body, reply=inbox)
        except (nats.errors.Error, OSError) as error:
            _log.warning("jobs cannot be asked for: %s", error or repr(error))
            self._absent = True
            self._changed.set()

    async def _listen(self, purpose: str) -> Subscription:
        subscription = await self._client.subscribe(f"{self._client.new_inbox()}.{purpose}.*", cb=self._receive)
        self._subscriptions.add(subscription)
        return subscription

    async def _end(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        try:
            # Unsubscribes, and waits until everything that was sent before has been taken in.
            await subscription.drain()  # type: ignore[no-untyped-call]
        except (nats.errors.Error, TimeoutError) as error:
            _log.debug("waiting for jobs ended: %s", error or repr(error))

    async def _receive(self, message: Msg) -> None:
        headers = message.headers or {}
        if not message.reply:
            self._status(message.subject.rpartition(".")[2], headers.get("Status", ""))
            return
        delivery = Delivery.of(self._client, message)
        self._places.waiting[delivery.consumer] = delivery.pending
        found = self._fetches.get(delivery.consumer)
        if found is not None:
            self._got(delivery.consumer, found[0] - 1, found[1])
        self._deliver(delivery)
        self._changed.set()

    def _got(self, consumer: str, missing: int, done: asyncio.Future[None]) -> None:
        self._fetches[consumer] = missing, done
        if missing <= 0 and not done.done():
            done.set_result(None)

    def _status(self, consumer: str, status: str) -> None:
        """There is nothing more for a request: nothing waits, its time is over, or there is no such consumer."""
        self._places.waiting[consumer] = 0
        found = self._fetches.get(consumer)
        if found is not None:
            self._got(consumer, 0, found[1])
        if status == _NO_RESPONDERS:
            self._absent = True
            self._changed.set()
