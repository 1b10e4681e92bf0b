"""`map` puts the answers to many requests together, whenever each of them comes."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from npufleet import rows
from npufleet.errors import InvalidShapeError, PayloadTooLargeError

ROWS = {"x": np.arange(10.0).reshape(10, 1)}


async def test_answers_that_overtake_each_other_are_put_in_order() -> None:
    last_is_there = asyncio.Event()

    async def send(chunk: rows.Arrays) -> Any:
        if chunk["x"][0] == 9:
            last_is_there.set()
        await last_is_there.wait()
        return {"y": chunk["x"] * 2, "z": chunk["x"].astype(np.int32)}

    outputs = await rows.run(ROWS, rows.Sizes(3, 3, int, 1.0), 4, send)
    assert np.array_equal(outputs["y"], ROWS["x"] * 2)
    assert outputs["z"].dtype == np.int32
    assert np.array_equal(outputs["z"], ROWS["x"])


@pytest.mark.parametrize(
    "other",
    [{"y": np.ones((3, 2))}, {"y": np.ones((3, 1), np.float32)}, {"z": np.ones((3, 1))}],
    ids=["shape", "dtype", "name"],
)
async def test_answers_that_do_not_fit_together_are_refused(other: rows.Arrays) -> None:
    async def send(chunk: rows.Arrays) -> Any:
        return other if chunk["x"][0] == 3 else {"y": chunk["x"]}

    with pytest.raises(InvalidShapeError):
        await rows.run(ROWS, rows.Sizes(3, 3, int, 1.0), 1, send)


MANY = {"x": np.arange(100.0).reshape(100, 1)}


async def lengths(most: int = 100, placed: bool = True, pause: float = 0.0, seconds: float = 9.0) -> list[int]:
    """Send 100 rows, one request at a time, 3 rows or 12 each; the rows of each request that was sent."""
    sent: list[int] = []

    async def send(chunk: rows.Arrays) -> Any:
        await asyncio.sleep(pause)
        sent.append(len(chunk["x"]))
        if sent[-1] > most:
            raise PayloadTooLargeError("too large")
        return {"y": chunk["x"] * 2}

    outputs = await rows.run(MANY, rows.Sizes(3, 12, lambda: len(sent) if placed else 0, seconds), 1, send)
    assert np.array_equal(outputs["y"], MANY["x"] * 2)
    return sent


async def test_requests_are_larger_once_they_go_past_the_broker() -> None:
    assert await lengths() == [3, *[12] * 8, 1]
    assert await lengths(placed=False) == [*[3] * 33, 1]


async def test_requests_that_were_too_large_stay_small() -> None:
    assert await lengths(most=6) == [3, 12, 6, 6, *[3] * 28, 1]


async def test_slow_requests_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE_SECONDS", 1e-3)
    assert await lengths(pause=1e-3) == [*[3] * 33, 1]


async def test_requests_with_little_time_stay_small() -> None:
    assert await lengths(pause=1e-3, seconds=4e-3) == [*[3] * 33, 1]


def test_how_many_rows_go_past_the_broker() -> None:
    large = {"x": np.broadcast_to(np.zeros(1024), (100_000, 1024))}
    assert rows.rows_per_request(large, 1 << 20, None) == 32
    assert rows.rows_past_the_broker(large, 16) == 256
    assert rows.rows_past_the_broker(large, 64) == 64, "32 MiB in flight"
    assert rows.rows_past_the_broker({"x": large["x"][:1000]}, 16) == 15, "four requests for each in flight"
    assert rows.rows_past_the_broker({"x": large["x"][:1]}, 16) == 1
