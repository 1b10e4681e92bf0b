"""`stream`: parts in order while they come, and no more rows asked for than parts are taken."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, Fleet, InvalidParameterError, InvalidShapeError, UnsupportedError
from tests.support.responder import respond
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nats.aio.msg import Msg

    from tests.support.responder import Responder
    from tests.support.worker_stand import Broker, WorkerProcess


async def take(parts: AsyncIterator[Any], taken: list[Any]) -> None:
    """Take parts into a list, which keeps those before an error."""
    async for part in parts:
        taken.append(part)  # noqa: PERF401


async def test_parts_come_in_order(fleet: AsyncFleet) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 64))
    parts = [part async for part in fleet.stream("fft", rows, {"norm": "ortho"}, rows_per_request=7, concurrency=4)]
    assert [len(part) for part in parts] == [7] * 14 + [2]
    np.testing.assert_allclose(np.concatenate(parts), np.fft.rfft(rows, norm="ortho"), atol=1e-12)


async def test_rows_may_come_bit_by_bit(fleet: AsyncFleet) -> None:
    async def source() -> AsyncIterator[object]:
        for start in range(0, 50, 5):
            await asyncio.sleep(0)
            yield {"x": np.arange(start, start + 5), "y": np.ones((5, 2))}

    parts = [part async for part in fleet.stream("echo", source())]
    assert [list(part["x"]) for part in parts] == [list(range(start, start + 5)) for start in range(0, 50, 5)]


async def test_a_part_is_there_before_the_source_goes_on(fleet: AsyncFleet) -> None:
    taken = asyncio.Event()

    async def source() -> AsyncIterator[object]:
        yield np.zeros((1, 8))
        await asyncio.wait_for(taken.wait(), 30)
        yield np.ones((1, 8))

    shapes = []
    async for part in fleet.stream("fft", source()):
        assert isinstance(part, np.ndarray)
        shapes.append(part.shape)
        taken.set()
    assert shapes == [(1, 5), (1, 5)]


async def test_who_takes_slowly_slows_the_source_down(fleet: AsyncFleet) -> None:
    asked = 0

    def source() -> Iterator[object]:
        nonlocal asked
        for asked in count(1):
            yield np.full((1, 4), float(asked))

    async with aclosing(fleet.stream("fft", source(), concurrency=3)) as parts:
        for number in range(1, 21):
            part = await anext(parts)
            assert isinstance(part, np.ndarray)
            assert part[0, 0] == 4 * number
            await until(lambda expected=number + 2: fleet.statistics().answered == expected)
            assert asked == number + 2


async def test_leaving_cancels_what_is_in_flight(broker: Broker, transport: str) -> None:
    async def first_only(responder: Responder, message: Msg) -> None:
        if len(responder.heard) == 1:
            await responder.echo(message)

    async with (
        AsyncFleet.connect(broker.url, transport=transport, prefix="leaves") as fleet,
        respond(broker.url, "call", first_only, prefix="leaves") as rust,
    ):
        async with aclosing(fleet.stream("echo", {"x": np.arange(100)}, rows_per_request=1, concurrency=5)) as parts:
            await anext(parts)
        assert fleet.statistics().errors == {"cancelled": fleet.statistics().calls - 1}
    assert len(rust.heard) <= 6


async def test_an_error_comes_after_the_parts_before_it(broker: Broker, transport: str) -> None:
    async def not_the_fourth(responder: Responder, message: Msg) -> None:
        if len(responder.heard) == 4:
            await responder.fail(message, "unsupported")
        else:
            await responder.echo(message)

    taken: list[Any] = []
    async with (
        AsyncFleet.connect(broker.url, transport=transport, prefix="fourth") as fleet,
        respond(broker.url, "call", not_the_fourth, prefix="fourth"),
    ):
        with pytest.raises(UnsupportedError):
            await take(fleet.stream("echo", {"x": np.arange(100)}, rows_per_request=1, concurrency=10), taken)
    assert [int(part["x"][0]) for part in taken] == [0, 1, 2]


async def test_an_error_of_the_source_comes_after_its_parts(fleet: AsyncFleet) -> None:
    def source() -> Iterator[object]:
        yield np.zeros((1, 8))
        raise OSError("unplugged")

    taken: list[Any] = []
    with pytest.raises(OSError, match="unplugged"):
        await take(fleet.stream("fft", source()), taken)
    assert len(taken) == 1


REFUSED: dict[str, tuple[type[Exception], tuple[Any, ...], dict[str, Any]]] = {
    "one line": (InvalidShapeError, ("fft", np.zeros(8)), {}),
    "a piece of one line": (InvalidShapeError, ("fft", lambda: iter([np.zeros(8)])), {}),
    "concurrency": (InvalidParameterError, ("fft", np.zeros((4, 8))), {"concurrency": 0}),
    "rows per request": (InvalidParameterError, ("fft", np.zeros((4, 8))), {"rows_per_request": 0}),
}


@pytest.mark.parametrize(("error", "given", "options"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_cannot_be_streamed_is_refused(
    fleet: AsyncFleet, error: type[Exception], given: tuple[Any, ...], options: dict[str, Any]
) -> None:
    operation, rows = given
    with pytest.raises(error):
        await anext(fleet.stream(operation, rows() if callable(rows) else rows, **options))


def test_a_blocking_program_streams_too(broker: Broker, python_worker: WorkerProcess, transport: str) -> None:
    def source() -> Iterator[object]:
        for number in range(10):
            assert fleet.state == "connected"  # it is asked beside the fleet's thread, which it may use
            yield fleet.fft(np.full((2, 4), float(number)))

    with Fleet.connect(broker.url, transport=transport) as fleet:
        first = [part["x"][0, 0] for part in fleet.stream("echo", ({"x": piece} for piece in source()))]
        assert first == [4.0 * number for number in range(10)]
        left = fleet.stream("fft", np.zeros((1000, 8)), rows_per_request=1)
        assert next(left).shape == (1, 5)
