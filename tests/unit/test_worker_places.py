"""Free places go to the lanes that have work, in proportion to their weights."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from npufleet.broker import streams
from npufleet.wire.job import WEIGHTS
from npufleet.worker.jobs.places import Places

NAMES = [f"job-{lane}" for lane in WEIGHTS]


def shared(places: Places, free: int, times: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for _ in range(times):
        total += places.share(free)
    return total


def test_a_full_backlog_is_shared_by_weight() -> None:
    places = Places(NAMES)
    places.waiting.update(dict.fromkeys(NAMES, 10**6))
    assert shared(places, 1, 310) == {f"job-{lane}": 10 * weight for lane, weight in WEIGHTS.items()}
    assert shared(places, 31, 1) == {f"job-{lane}": weight for lane, weight in WEIGHTS.items()}


def test_a_lane_alone_gets_every_place() -> None:
    places = Places(NAMES)
    places.waiting.update(dict.fromkeys(NAMES, 0) | {"job-low": 100})
    assert places.share(8) == {"job-low": 8}


def test_at_first_every_consumer_is_asked_once() -> None:
    places = Places(streams.consumers())
    assert places.share(100) == dict.fromkeys(streams.consumers(), 1)


@given(
    st.lists(st.integers(0, 20), min_size=5, max_size=5),
    st.integers(0, 40),
)
def test_no_place_is_wasted_and_none_is_invented(waiting: list[int], free: int) -> None:
    places = Places(NAMES)
    places.waiting.update(zip(NAMES, waiting, strict=True))
    shares = places.share(free)
    assert sum(shares.values()) == min(free, sum(waiting))
    assert all(shares[name] <= count for name, count in zip(NAMES, waiting, strict=True))
