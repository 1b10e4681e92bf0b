"""Executing a batch: only the bad member fails, whatever it raises; hung threads are replaced."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from npufleet import operations
from npufleet.errors import DeviceLostError, InternalError, InvalidShapeError, UnsupportedError
from npufleet.wire import frame
from npufleet.wire.contract import OPERATIONS
from npufleet.worker import batch, executor
from npufleet.worker.endpoint import Endpoint
from npufleet.worker.executor import Executors
from npufleet.worker.queue import RequestQueue
from tests.unit.test_worker_queue import request


class Picky:
    """A model that fails for any batch with a negative row, and counts how often it is asked."""

    name, version, device, max_batch, max_delay, batches = "picky", 1, "CPU", 64, 0.0, True

    def __init__(self, error=None):
        self.error = error or RuntimeError("bad row")
        self.asked = 0
        self.next = None

    def successor(self, _error):
        return self.next

    def infer(self, members):
        self.asked += 1
        if any((member["x"] < 0).any() for member in members):
            raise self.error
        return [{"y": member["x"] * 2} for member in members]


def infer_requests(model, values):
    where = Endpoint(OPERATIONS["infer"], "fallback", "npu", model)
    requests = [request(where, key="k", served=model) for _ in values]
    for each, value in zip(requests, values, strict=True):
        each.tensors = {"x": np.array([value])}
    return requests


def echo_request(function, monkeypatch):
    monkeypatch.setitem(operations.REGISTRY, "echo", operations.Operation(lambda *_: 1, function))
    return request(Endpoint(OPERATIONS["echo"], "fallback", "npu"))


@pytest.mark.parametrize("bad", [{0}, {7}, {3}, {2, 5}, set(range(8)), set()])
def test_only_the_bad_members_of_a_batch_fail(bad):
    model = Picky()
    outcomes = batch.execute(infer_requests(model, [-1.0 if i in bad else float(i) for i in range(8)]))
    for index, outcome in enumerate(outcomes):
        if index in bad:
            assert isinstance(outcome.error, InternalError)
            assert "bad row" in str(outcome.error)
        else:
            assert frame.decode(outcome.frame)[0]["y"] == [2.0 * index]
            assert outcome.device == "CPU"
        assert (outcome.rows, outcome.members) == (8, 8)
    # Halving: a single bad one among eight costs one try per level and side.
    assert model.asked <= (1 if not bad else 7 if len(bad) == 1 else 15)


def test_a_lost_device_is_nobodys_fault_and_tried_once():
    model = Picky(DeviceLostError("gone"))
    outcomes = batch.execute(infer_requests(model, [1.0, -1.0, 2.0]))
    assert [outcome.error.kind for outcome in outcomes] == ["device_lost"] * 3
    assert model.asked == 1


def test_what_ran_on_a_lost_device_runs_on_the_next():
    model = Picky(DeviceLostError("gone"))
    model.device, model.next = "NPU", Picky()
    outcomes = batch.execute(infer_requests(model, [1.0, -1.0, 2.0]))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert {outcome.device for outcome in outcomes if outcome.error is None} == {"CPU"}
    assert model.asked == 1


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ValueError("x"), "internal"),
        (MemoryError(), "internal"),
        (UnsupportedError("not here"), "unsupported"),
        (InvalidShapeError("axis"), "invalid_shape"),
    ],
)
def test_whatever_an_operation_raises_is_its_callers_typed_error(monkeypatch, raised, kind):
    def fail(*_):
        raise raised

    (outcome,) = batch.execute([echo_request(fail, monkeypatch)])
    assert outcome.error.kind == kind


def test_a_result_that_no_frame_can_hold_is_internal_or_invalid_but_an_answer(monkeypatch):
    (outcome,) = batch.execute([echo_request(lambda *_: {"y": np.array(["text"])}, monkeypatch)])
    assert outcome.error is not None


def test_what_expired_or_was_answered_is_not_executed(monkeypatch):
    called = []
    expired = echo_request(lambda *_: called.append(1), monkeypatch)
    answered = echo_request(lambda *_: called.append(1), monkeypatch)
    expired.deadline = 1
    answered.answered = True
    outcomes = batch.execute([expired, answered])
    assert [outcome.error.kind for outcome in outcomes] == ["deadline_exceeded", "cancelled"]
    assert not called


def test_warming_up_runs_every_operation(monkeypatch):
    run = []
    monkeypatch.setattr(operations, "execute", lambda name, *_: run.append(name))
    batch.warm_up()
    assert run == list(operations.REGISTRY)


def test_a_thread_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(executor, "HUNG_SECONDS", 0.0)
    release, entered, delivered = threading.Event(), threading.Event(), threading.Event()

    def hang(*_):
        entered.set()
        release.wait()
        return {}

    queue = RequestQueue(10)
    pool = Executors(1, queue, lambda _outcomes: delivered.set())
    hanging = echo_request(hang, monkeypatch)
    queue.put(hanging)
    assert entered.wait(10)
    pool.replace_hung()
    assert pool.hung == 0  # somebody still waits for it
    hanging.answered = True
    end = time.monotonic() + 10
    while pool.hung == 0 and time.monotonic() < end:
        pool.replace_hung()
    assert pool.hung == 1
    monkeypatch.setitem(operations.REGISTRY, "echo", SimpleNamespace(execute=lambda *_: {}))
    queue.put(request(hanging.endpoint))
    assert delivered.wait(10)
    release.set()
    while pool.hung and time.monotonic() < end:
        pass
    assert pool.hung == 0
    queue.close()
