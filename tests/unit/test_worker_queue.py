"""The worker's queue: lanes, batches by rows, what is discarded, what waits for more."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from npufleet.wire.contract import OPERATIONS
from npufleet.worker.endpoint import Endpoint
from npufleet.worker.queue import RequestQueue
from npufleet.worker.request import Request

FAR = 1 << 62


def model(max_batch=8, max_delay=0.0):
    return SimpleNamespace(name="m", max_batch=max_batch, max_delay=max_delay, batches=True, version=1)


def request(endpoint, lane=3, *, key=None, rows=1, served=None, estimate=0.0):
    return Request(
        endpoint=endpoint,
        lane=lane,
        reply="r",
        call_id=None,
        deadline=FAR,
        tensors={},
        params={},
        payload_bytes=0,
        rows=rows,
        key=key,
        model=served,
        arrived=time.perf_counter_ns(),
        decoded=0,
        estimate=estimate,
    )


def endpoint():
    return Endpoint(OPERATIONS["echo"], "fallback", "npu")


def fill(queue, *requests):
    for each in requests:
        queue.put(each)


def test_the_more_urgent_lane_comes_first_and_within_a_lane_the_older_one():
    queue, where = RequestQueue(10), endpoint()
    requests = [request(where, lane) for lane in (4, 0, 2, 0)]
    fill(queue, *requests)
    assert [queue.take() for _ in range(4)] == [[requests[1]], [requests[3]], [requests[2]], [requests[0]]]
    assert (len(queue), where.queued) == (0, 0)


def test_endpoints_take_turns():
    queue, flood, other = RequestQueue(10), endpoint(), endpoint()
    first, second, third = (request(flood) for _ in range(3))
    patient, urgent = request(other), request(other, lane=0)
    fill(queue, first, second, third, patient, urgent)
    assert [queue.take() for _ in range(5)] == [[urgent], [first], [patient], [second], [third]]


def test_a_batch_takes_what_is_compatible_up_to_its_rows():
    queue, where, served = RequestQueue(10), endpoint(), model(max_batch=8)
    a = [request(where, key="a", rows=rows, served=served) for rows in (3, 6, 4, 1)]
    b = request(where, key="b", served=served)
    fill(queue, a[0], b, *a[1:])
    # 6 does not fit beside 3; 4 and 1 do.
    assert queue.take() == [a[0], a[2], a[3]]
    assert queue.take() == [b]
    assert queue.take() == [a[1]]


def test_a_batch_is_filled_from_other_lanes_too_the_urgent_first():
    queue, where, served = RequestQueue(10), endpoint(), model(max_batch=2)
    low, high, normal = (request(where, lane, key="a", served=served) for lane in (4, 2, 3))
    fill(queue, low, high, normal)
    assert queue.take() == [high, normal]
    assert queue.take() == [low]


def test_what_is_discarded_is_not_taken_and_what_is_taken_not_discarded():
    queue, where, served = RequestQueue(10), endpoint(), model()
    first, second, third = (request(where, key="a", served=served, estimate=1.0) for _ in range(3))
    fill(queue, first, second, third)
    assert queue.discard(second)
    assert not queue.discard(second)
    assert (len(queue), queue.work_before(4)) == (2, 2.0)
    assert queue.take() == [first, third]
    assert not queue.discard(first)


def test_work_counts_what_comes_before():
    queue, where = RequestQueue(10), endpoint()
    fill(queue, request(where, 0, estimate=1.0), request(where, 3, estimate=2.0), request(where, 4, estimate=4.0))
    assert [queue.work_before(lane) for lane in range(5)] == [1.0, 1.0, 1.0, 3.0, 7.0]


def test_a_closed_queue_gives_out_the_rest_and_then_nothing():
    queue, where = RequestQueue(10), endpoint()
    rest = request(where)
    fill(queue, rest)
    queue.close()
    assert queue.take() == [rest]
    assert queue.take() is None


def test_a_waiting_executor_is_woken():
    queue, where, got = RequestQueue(10), endpoint(), []
    thread = threading.Thread(target=lambda: got.append(queue.take()))
    thread.start()
    expected = request(where)
    fill(queue, expected)
    thread.join(10)
    assert got == [[expected]]


def test_a_model_that_asks_for_it_waits_for_more_until_the_batch_is_full():
    queue, where, served = RequestQueue(10), endpoint(), model(max_batch=3, max_delay=30.0)
    requests = [request(where, key="a", served=served) for _ in range(3)]
    got = []
    fill(queue, requests[0])
    thread = threading.Thread(target=lambda: got.append(queue.take()))
    thread.start()
    fill(queue, *requests[1:])
    thread.join(10)
    assert got == [requests]


def test_a_model_that_asks_for_it_waits_no_longer_than_it_said():
    queue, where, served = RequestQueue(10), endpoint(), model(max_batch=3, max_delay=0.02)
    only = request(where, key="a", served=served)
    fill(queue, only)
    assert queue.take() == [only]
    assert time.perf_counter_ns() - only.arrived >= 20_000_000


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.integers(1, 4), st.booleans()), max_size=30))
def test_every_request_comes_out_once_and_nothing_is_left_behind(given_requests):
    queue, where, served = RequestQueue(100), endpoint(), model(max_batch=4)
    requests = [request(where, lane, key=key, rows=rows, served=served) for lane, key, rows, _ in given_requests]
    fill(queue, *requests)
    for each, (*_, dropped) in zip(requests, given_requests, strict=True):
        if dropped:
            assert queue.discard(each)
    queue.close()
    out = []
    while (batch := queue.take()) is not None:
        assert len({each.key for each in batch}) == 1
        assert sum(each.rows for each in batch) <= 4
        assert batch[0].lane == min(each.lane for each in requests if not each.taken or each in batch)
        out += batch
    kept = [each for each, (*_, dropped) in zip(requests, given_requests, strict=True) if not dropped]
    assert sorted(map(id, out)) == sorted(map(id, kept))
    assert (len(queue), where.queued, any(queue._mates), any(queue._lanes)) == (0, 0, False, False)
