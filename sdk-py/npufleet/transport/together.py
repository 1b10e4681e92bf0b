"""Many small requests at once, the first error as it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable


async def together(one: Callable[[Any], Coroutine[Any, Any, None]], items: Iterable[Any], at_once: int) -> None:
    """Do something for every item, so many at a time; the first error ends the rest and is raised."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await one(item)

    tasks = [asyncio.ensure_future(worker()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
