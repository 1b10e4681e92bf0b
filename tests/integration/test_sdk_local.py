"""`AsyncFleet.local()` and `Fleet.local()`: a fleet of one's own for as long as it is open."""

from __future__ import annotations

import os

import numpy as np
import pytest

from npufleet import AsyncFleet, Fleet, InvalidParameterError
from tests.support.waiting import until


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_local_fleet_lives_as_long_as_it_is_open(transport: str) -> None:
    async with AsyncFleet.local(workers=("python",), transport=transport) as fleet:
        assert set(fleet.pids) == {"broker", "python"}
        result = await fleet.call("fft", np.arange(8.0))
        assert (result.engine, result.fallback_reason) == ("python", "no_responders")
        assert fleet.statistics().fallbacks == {"no_responders": 1}
        assert fleet.transport == transport
        assert ":" in fleet.url.partition("//")[2].partition("@")[0], "the address carries the credentials"
        assert (await fleet.health())["ok"]
        pids = list(fleet.pids.values())
    await until(lambda: not any(map(alive, pids)), "the processes being gone")


def test_a_blocking_local_fleet(transport: str) -> None:
    with Fleet.local(workers=("python",), transport=transport) as fleet:
        assert fleet.fft(np.arange(8.0)).shape == (5,)
        with Fleet.connect(fleet.url, transport=transport) as second:
            assert second.fft(np.arange(8.0)).shape == (5,)
        pids = list(fleet.pids.values())
    assert not any(map(alive, pids))


async def test_options_reach_the_workers_and_bad_ones_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="java"):
        await AsyncFleet.local(workers=("java",))
    with pytest.raises(InvalidParameterError, match="no_such_option"):
        await AsyncFleet.local(workers=("python",), no_such_option=1)
    with pytest.raises(InvalidParameterError, match="pigeon"):
        await AsyncFleet.local(workers=("python",), transport="pigeon")
