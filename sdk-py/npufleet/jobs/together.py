"""Waiting for many jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from npufleet.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from npufleet.jobs.job import Job
    from npufleet.result import Result


async def gather(
    jobs: Iterable[Job],
    timeout: float,  # noqa: ASYNC109
    *,
    return_errors: bool,
) -> list[Result | FleetError]:
    """Return the results of jobs in their order; see `AsyncFleet.gather`."""
    waiting = [asyncio.ensure_future(job.result(timeout)) for job in jobs]
    try:
        if not return_errors:
            return list(await asyncio.gather(*waiting))
        results: list[Result | FleetError] = []
        for one in waiting:
            try:
                results.append(await one)
            except FleetError as error:
                results.append(error)
        return results
    finally:
        for one in waiting:
            one.cancel()


async def as_completed(jobs: Iterable[Job], timeout: float) -> AsyncIterator[Job]:  # noqa: ASYNC109
    """Give each job when it has a result, a good one or not; see `AsyncFleet.as_completed`."""
    waiting = {asyncio.ensure_future(job.wait(timeout)): job for job in jobs}
    try:
        left = set(waiting)
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
                yield waiting[one]
    finally:
        for one in waiting:
            one.cancel()
