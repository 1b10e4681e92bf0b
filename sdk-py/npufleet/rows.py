"""`map`: cut many rows into requests, send some at a time, put the answers together in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from npufleet.errors import InvalidParameterError, InvalidShapeError, PayloadTooLargeError
from npufleet.pages import populate
from npufleet.wire import contract
from npufleet.wire.array import as_array

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from numpy.typing import NDArray

    from npufleet.result import Result

    Arrays = dict[str, NDArray[Any]]
    Send = Callable[[Arrays], Awaitable[Result]]

ROWS_LIMIT: Final = 1 << 20
CONCURRENCY_LIMIT: Final = 4096
BYTES_PER_REQUEST: Final = 256 * 1024
"""Larger messages gain nothing: the broker's rate is then bounded by bytes, not by requests."""

LARGE_BYTES: Final = 2 * 1024 * 1024
"""Of requests whose frames go past the broker, to which each costs the same whatever its size."""

LARGE_BYTES_IN_FLIGHT: Final = 32 * 1024 * 1024
LARGE_SECONDS: Final = 0.25
"""How long such a request may take, and at most a quarter of its own time: others wait for it."""

HEADER_ROOM: Final = 4096


def check(operation: contract.Operation, rows: object, params: Mapping[str, object] | None) -> Arrays:
    """Return the rows as arrays of one length, or refuse what cannot be cut along the first dimension."""
    if isinstance(rows, Mapping):
        arrays = {name: as_array(name, value) for name, value in rows.items()}
    elif (name := operation.main_name) is not None:
        arrays = {name: as_array(name, rows)}
    else:
        raise InvalidShapeError(f"rows of {operation.name} are no mapping; allowed: names to arrays")
    lengths = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    if None in lengths.values() or len(set(lengths.values())) != 1:
        raise InvalidShapeError(f"rows are {lengths}; allowed: tensors with the same first dimension")
    ranks = {row.name: row.minimum_rank for row in operation.inputs or ()}
    for name, array in arrays.items():
        least = ranks.get(name, 0) + 1
        if array.ndim < least:
            raise InvalidShapeError(f"rows '{name}' have rank {array.ndim}; allowed: {least} to {contract.RANK_LIMIT}")
        axis = (params or {}).get("axis")
        if isinstance(axis, int) and axis in (0, -array.ndim):
            raise InvalidParameterError(f"parameter 'axis' is {axis}; map cuts along that dimension")
    return arrays


def rows_per_request(arrays: Arrays, max_payload: int, limit: int | None) -> int:
    """Return how many rows go into one request: by bytes, and by `limit` where it is given."""
    by_bytes = _rows_in(arrays, min(BYTES_PER_REQUEST, max_payload - HEADER_ROOM))
    return by_bytes if limit is None else min(by_bytes, limit)


def rows_past_the_broker(arrays: Arrays, concurrency: int) -> int:
    """Return how many rows go into one request whose frame the broker does not carry; at least one."""
    total = sum(array.nbytes for array in arrays.values())
    # Enough requests for all who work on them, to the end.
    return _rows_in(arrays, min(LARGE_BYTES, LARGE_BYTES_IN_FLIGHT // concurrency, total // (4 * concurrency)))


def _rows_in(arrays: Arrays, size: int) -> int:
    count = len(next(iter(arrays.values())))
    row_bytes = sum(array.nbytes for array in arrays.values()) // max(count, 1)
    return min(max(size // max(row_bytes, 1), 1), ROWS_LIMIT)


def cut(arrays: Arrays, size: int) -> Iterator[Arrays]:
    """Give the rows in pieces of at most `size`; no rows are one piece."""
    return (chunk for _, chunk in _cut(arrays, lambda: size))


def _cut(arrays: Arrays, size: Callable[[], int]) -> Iterator[tuple[int, Arrays]]:
    """Give the rows in pieces, each with the number of its first row; `size` says how many the next one has."""
    start, count = 0, len(next(iter(arrays.values())))
    while not start or start < count:
        end = start + size()
        yield start, {name: array[start:end] for name, array in arrays.items()}
        start = end


class Sizes:
    """How many rows the next request has: `few`, and `many` as long as answers show that these go past the broker.

    `placed` says how many requests of this connection have gone there, `timeout` how many seconds each has.
    """

    def __init__(self, few: int, many: int, placed: Callable[[], int], timeout: float) -> None:
        self.few = self.next = few
        self._many = many
        self._placed = placed
        self._timeout = timeout
        self._before = placed()

    def answered(self, rows: int, seconds: float, *, is_whole: bool) -> None:
        """Hear of a request of so many rows; one that was split, or whose answer was, was too large for its way."""
        if not is_whole:
            self._many = self.few
        is_quick = seconds * self._many <= min(LARGE_SECONDS, self._timeout / 4) * rows
        self.next = self._many if is_quick and self._placed() > self._before else self.few


async def run(arrays: Arrays, sizes: Sizes, concurrency: int, send: Send) -> Arrays:
    """Send the rows in requests, `concurrency` at a time; the first error ends all of it."""
    count = len(next(iter(arrays.values())))
    chunks = _cut(arrays, lambda: sizes.next)
    outputs = Outputs(count)

    async def work() -> None:
        for first, chunk in chunks:
            row, began = first, time.monotonic()
            parts = await send_or_split(chunk, send)
            seconds = time.monotonic() - began
            for part in parts:
                row = outputs.put(row, part)
            sizes.answered(row - first, seconds, is_whole=len(parts) == 1)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, -(-max(count, 1) // sizes.few))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        # One error is what the caller asked about; the others are the same or follow from it.
        raise errors.exceptions[0] from None
    return outputs.arrays


class Outputs:
    """The answers to all rows, in order.

    A part is copied to its place when it comes, so that the memory it came in is free for the next one.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.arrays: Arrays = {}

    def put(self, first: int, part: Arrays) -> int:
        """Take the answers to the rows from `first` on; returns the row after them.

        Raises `InvalidShapeError` when they are not like those that came before.
        """
        rows = len(next(iter(part.values()), ()))
        if rows == self._count:
            self.arrays = part
            return rows
        if not self.arrays:
            self.arrays = {name: np.empty((self._count, *a.shape[1:]), a.dtype) for name, a in part.items()}
            for array in self.arrays.values():
                populate(array)
        if part.keys() != self.arrays.keys():
            raise InvalidShapeError(f"outputs are {sorted(part)} from row {first}; before: {sorted(self.arrays)}")
        for name, array in part.items():
            whole = self.arrays[name]
            if (array.dtype, array.shape[1:]) != (whole.dtype, whole.shape[1:]):
                raise InvalidShapeError(
                    f"output '{name}' is {array.dtype}{list(array.shape[1:])} from row {first}; "
                    f"before: {whole.dtype}{list(whole.shape[1:])}"
                )
            whole[first : first + rows] = array
        return first + rows


async def send_or_split(chunk: Arrays, send: Send) -> list[Arrays]:
    """Send one chunk; where the request or its answer does not fit into a message, send its halves."""
    count = len(next(iter(chunk.values())))
    try:
        return [_checked(await send(chunk), count)]
    except PayloadTooLargeError:
        if count < 2:
            raise
    halves = ({name: array[part] for name, array in chunk.items()} for part in _halves(count))
    return [part for half in halves for part in await send_or_split(half, send)]


def _halves(count: int) -> tuple[slice, slice]:
    return slice(0, count // 2), slice(count // 2, count)


def _checked(result: Result, count: int) -> Arrays:
    for name, array in result.items():
        if not array.ndim or len(array) != count:
            raise InvalidShapeError(f"output '{name}' has shape {array.shape} for {count} rows; map needs one row each")
    return dict(result)
