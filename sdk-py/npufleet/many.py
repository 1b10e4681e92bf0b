"""`map` and `stream`: calls of many rows, cut into requests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from npufleet import parts
from npufleet import rows as row_requests
from npufleet.call import TIMEOUT_S, Caller
from npufleet.errors import InvalidParameterError
from npufleet.wire import contract

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterator

    from numpy.typing import NDArray

    from npufleet.result import Result
    from npufleet.rows import Arrays


class RowCaller(Caller, ABC):
    """Calls of many rows: the part of `AsyncFleet` that cuts them."""

    async def map(
        self,
        operation: str,
        rows: object,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109
        lane: str = contract.DEFAULT_LANE,
        rows_per_request: int | None = None,
        concurrency: int = 16,
    ) -> NDArray[Any] | dict[str, NDArray[Any]]:
        """Run an operation on many rows, sent in requests of many rows each, and return the outputs in order.

        `rows` is an array, or a mapping of names to arrays, whose first dimension counts rows; a request holds as
        many as fit well into a message, more as soon as frames go past the broker and answers come quickly, and at
        most `rows_per_request` (default: the model's max_batch, for `infer`).
        `concurrency` requests are in flight at once, each with `timeout` seconds. An array gives an array, a mapping
        gives a dict. The first error ends all of it.
        """
        row = contract.operation(operation)
        arrays = row_requests.check(row, rows, params)
        _check_limits(rows_per_request, concurrency)
        limit = await self._limit(row, model, rows_per_request)
        few = row_requests.rows_per_request(arrays, self._transport.max_payload, limit)
        many = max(few, row_requests.rows_past_the_broker(arrays, concurrency)) if limit is None else few
        sizes = row_requests.Sizes(few, many, lambda: self._transport.placements["arena"], timeout)

        def send(chunk: Arrays) -> Awaitable[Result]:
            return self.call(operation, chunk, params, model=model, timeout=timeout, lane=lane)

        return _unwrapped(await row_requests.run(arrays, sizes, concurrency, send), rows)

    def stream(
        self,
        operation: str,
        rows: object,
        params: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        timeout: float = TIMEOUT_S,
        lane: str = contract.DEFAULT_LANE,
        rows_per_request: int | None = None,
        concurrency: int = 16,
    ) -> AsyncGenerator[NDArray[Any] | dict[str, NDArray[Any]]]:
        """Give the answers of `map` part by part, in order, as soon as each is there: `async for part in ...`.

        `rows` may also come bit by bit and without end, from an asynchronous iterable or an iterator of what `map`
        takes; the other arguments are those of `map`. A part has the outputs of at most `rows_per_request` rows.
        `concurrency` parts are in flight or wait to be taken, and no more rows are asked for: whoever takes parts
        slowly slows the source down, and memory stays bounded. An error is raised after the parts before it. Leaving
        the loop cancels what is in flight; `contextlib.aclosing` does so at once.
        """
        row = contract.operation(operation)
        _check_limits(rows_per_request, concurrency)
        limits: list[int | None] = []

        def send(chunk: Arrays) -> Awaitable[Result]:
            return self.call(operation, chunk, params, model=model, timeout=timeout, lane=lane)

        async def request(chunk: Arrays, piece: object) -> list[NDArray[Any] | Arrays]:
            return [_unwrapped(part, piece) for part in await row_requests.send_or_split(chunk, send)]

        async def requests(piece: object) -> Iterator[Coroutine[Any, Any, list[NDArray[Any] | Arrays]]]:
            arrays = row_requests.check(row, piece, params)
            if not limits:
                limits.append(await self._limit(row, model, rows_per_request))
            size = row_requests.rows_per_request(arrays, self._transport.max_payload, limits[0])
            return (request(chunk, piece) for chunk in row_requests.cut(arrays, size))

        return parts.run(parts.pieces(rows), requests, concurrency)

    async def _limit(self, row: contract.Operation, model: str | None, given: int | None) -> int | None:
        """Return the most rows of one request, where there is a limit in rows."""
        return await self._max_batch(model) if given is None and row.model and model is not None else given

    @abstractmethod
    async def _max_batch(self, model: str) -> int | None:
        """Return the model's max_batch, or None where nobody can tell; the worker then decides."""


def _unwrapped(outputs: Arrays, rows: object) -> NDArray[Any] | Arrays:
    """Return the one output of rows that were an array."""
    return next(iter(outputs.values())) if len(outputs) == 1 and not isinstance(rows, Mapping) else outputs


def _check_limits(rows_per_request: int | None, concurrency: int) -> None:
    _check("concurrency", concurrency, row_requests.CONCURRENCY_LIMIT)
    if rows_per_request is not None:
        _check("rows_per_request", rows_per_request, row_requests.ROWS_LIMIT)


def _check(field: str, value: int, maximum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise InvalidParameterError(f"{field} is {value!r}; allowed: 1 to {maximum}")
