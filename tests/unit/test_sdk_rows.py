"""`map` puts the answers to many requests together, whenever each of them comes."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from npufleet import rows
from npufleet.errors import InvalidShapeError

ROWS = {"x": np.arange(10.0).reshape(10, 1)}


async def test_answers_that_overtake_each_other_are_put_in_order() -> None:
    last_is_there = asyncio.Event()

    async def send(chunk: rows.Arrays) -> Any:
        if chunk["x"][0] == 9:
            last_is_there.set()
        await last_is_there.wait()
        return {"y": chunk["x"] * 2, "z": chunk["x"].astype(np.int32)}

    outputs = await rows.run(ROWS, 3, 4, send)
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
        await rows.run(ROWS, 3, 1, send)
