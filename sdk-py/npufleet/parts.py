"""`stream`: `map` for rows that come bit by bit, or whose answers are too many to hold at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable

Part = TypeVar("Part")

_NOTHING: Final[Any] = object()


class Pieces(AsyncIterator[object]):
    """The elements of an iterator, asked for on the event loop, or on threads when that may take its time."""

    def __init__(self, source: Iterator[object], *, on_threads: bool) -> None:
        self._source = source
        self._on_threads = on_threads

    async def __anext__(self) -> object:
        if self._on_threads:
            piece = await asyncio.to_thread(next, self._source, _NOTHING)
        else:
            piece = next(self._source, _NOTHING)
        if piece is _NOTHING:
            raise StopAsyncIteration
        return piece


def pieces(rows: object, *, on_threads: bool = False) -> AsyncIterator[object]:
    """Give the pieces that rows come in: those of an iterator or an asynchronous iterable; all else is one."""
    if isinstance(rows, AsyncIterable):
        return aiter(rows)
    if isinstance(rows, Iterator):
        return Pieces(rows, on_threads=on_threads)
    return Pieces(iter((rows,)), on_threads=False)


async def run(
    source: AsyncIterator[object],
    requests: Callable[[object], Awaitable[Iterable[Coroutine[Any, Any, list[Part]]]]],
    concurrency: int,
) -> AsyncGenerator[Part]:
    """Send the requests for each piece and give their answers in order, `concurrency` under way or not yet taken.

    A piece is asked for only when there is a place for its answer, so a slow reader slows its source down. An error,
    of the source too, is raised when it is its turn. Closing the generator cancels what is under way.
    """
    places = asyncio.Semaphore(concurrency)
    sent: asyncio.Queue[asyncio.Future[list[Part]] | None] = asyncio.Queue()
    under_way: set[asyncio.Future[Any]] = set()

    def follow(future: asyncio.Future[list[Part]]) -> None:
        under_way.add(future)
        sent.put_nowait(future)

    async def feed() -> None:
        try:
            await places.acquire()
            async for piece in source:
                for request in await requests(piece):
                    follow(asyncio.ensure_future(request))
                    await places.acquire()
        except Exception as error:  # noqa: BLE001 - raised where the answers are taken
            failed: asyncio.Future[list[Part]] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            follow(failed)
        sent.put_nowait(None)

    feeding = asyncio.ensure_future(feed())
    try:
        while (future := await sent.get()) is not None:
            for part in await future:
                yield part
            under_way.discard(future)
            places.release()
    finally:
        for future in (feeding, *under_way):
            future.cancel()
        await asyncio.gather(feeding, *under_way, return_exceptions=True)
