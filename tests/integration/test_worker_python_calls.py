"""A Python worker asked over plain NATS: answers, refusals, lanes, overload, deadlines, cancelling."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from npufleet.wire import frame
from tests.support.worker_stand import (
    PATIENCE,
    Broker,
    arrays,
    call,
    client,
    deadline,
    endpoints,
    kind,
    subject,
    worker,
)

ONE = frame.encode({"x": np.ones(4)})
ECHO = "npu.v1.fallback.*.echo"


@pytest.fixture(scope="module")
def broker():
    with Broker() as running:
        yield running


@pytest.fixture(scope="module")
def fleet(broker):
    with worker(broker.url, "--executors", "2") as running:
        yield running


@pytest.fixture
async def plain(broker, fleet):
    async with client(broker.url) as connected:
        yield connected


async def test_a_reply_says_who_did_it_and_how_long_it_took(plain):
    reply = await call(plain, "fft", {"x": np.arange(8.0)})
    np.testing.assert_allclose(arrays(reply)["y"], np.fft.rfft(np.arange(8.0)))
    assert reply.headers["Npu-Engine"] == "python"
    assert reply.headers["Npu-Device"] == "CPU"
    assert [part.split("=")[0] for part in reply.headers["Npu-Timing"].split(";")] == [
        "queued",
        "fetching",
        "batching",
        "executing",
    ]


async def test_values_that_are_no_numbers_and_tensors_without_elements_pass_unchanged(plain):
    sent = {
        "odd": np.array([np.nan, np.inf, -np.inf, -0.0]),
        "none": np.zeros((0, 3), np.float32),
        "one": np.array(7, np.int16),
        "complex": np.array([1 + 2j, complex(np.nan, 0)]),
    }
    got = arrays(await call(plain, "echo", sent))
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in got.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in sent.items()
    }


REFUSALS = {
    "truncated frame": ("echo", ONE[:-1], {}, "invalid_frame", 400),
    "no frame": ("echo", b"\xff" * 64, {}, "invalid_frame", 400),
    "nothing": ("echo", b"", {}, "invalid_frame", 400),
    "unknown parameter": ("fft", frame.encode({"x": np.ones(4)}, {"foo": 1}), {}, "invalid_parameter", 400),
    "parameter out of range": ("fft", frame.encode({"x": np.ones(4)}, {"n": 0}), {}, "invalid_parameter", 400),
    "axis the tensor lacks": ("fft", frame.encode({"x": np.ones(4)}, {"axis": 3}), {}, "invalid_parameter", 400),
    "deadline that is no number": ("echo", ONE, {"Npu-Deadline": "soon"}, "invalid_parameter", 400),
    "wrong dtype": ("fft", frame.encode({"x": np.ones(4, np.int32)}), {}, "invalid_shape", 400),
    "missing tensor": ("fft", frame.encode({"z": np.ones(4)}), {}, "invalid_shape", 400),
    "deadline that has passed": ("echo", ONE, {"Npu-Deadline": "1"}, "deadline_exceeded", 408),
    "claim": ("echo", b"", {"Npu-Claim": f"npu1:{'0' * 32}:0:1:8"}, "payload_lost", 410),
    "no claim": ("echo", b"", {"Npu-Claim": "npu1:hello"}, "invalid_frame", 400),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_what_is_wrong_is_refused_by_kind(plain, case):
    operation, payload, headers, expected, code = REFUSALS[case]
    reply = await call(plain, operation, payload, headers=headers)
    assert (kind(reply), reply.headers["Nats-Service-Error-Code"]) == (expected, str(code))
    assert reply.data == b""
    assert reply.headers["Nats-Service-Error"]
    assert reply.headers["Npu-Engine"] == "python"


async def test_a_lane_that_does_not_exist_is_refused(plain):
    assert kind(await call(plain, "echo", ONE, lane="urgent")) == "invalid_parameter"


async def test_a_result_larger_than_the_broker_carries_is_refused_with_both_sizes(plain):
    reply = await call(plain, "fft", {"x": np.ones(4)}, {"n": 1_000_000})
    assert kind(reply) == "payload_too_large"
    assert str(plain.max_payload) in reply.headers["Nats-Service-Error"]
    assert kind(await call(plain, "echo", ONE)) is None


async def test_the_reason_of_a_fallback_comes_back_and_is_counted(plain, fleet):
    before = (await endpoints(plain, fleet.id))[ECHO]["data"]["fallback"]
    for reason in ("no_responders", "internal: kernel failed\u2028here", "made up"):
        reply = await call(plain, "echo", ONE, headers={"Npu-Fallback-Reason": reason})
        assert reply.headers["Npu-Fallback-Reason"] == " ".join(reason.split())
    counted = (await endpoints(plain, fleet.id))[ECHO]["data"]["fallback"]
    assert {reason: counted[reason] - before.get(reason, 0) for reason in counted} == {
        "no_responders": 1,
        "internal": 1,
        "other": 1,
    }


async def test_a_message_without_reply_subject_changes_nothing(plain):
    await plain.publish(subject("echo"), ONE)
    assert kind(await call(plain, "echo", ONE)) is None


async def test_a_call_that_hangs_is_answered_at_its_deadline_and_stops_nothing_else(plain):
    hanging = [
        asyncio.ensure_future(call(plain, "echo", {"x": np.ones(1)}, {"delay": 60.0}, headers=deadline(0.5)))
        for _ in range(8)
    ]
    # More than there are executors, so that some expire while they wait.
    assert {kind(reply) for reply in await asyncio.gather(*hanging)} <= {"deadline_exceeded", "overloaded"}
    assert kind(await call(plain, "echo", ONE, headers=deadline(10))) is None


@pytest.mark.parametrize("running", [True, False], ids=["running", "queued"])
async def test_a_cancelled_call_is_answered_cancelled(plain, fleet, running):
    blockers = 0 if running else 2
    calls = {}
    for number in range(blockers + 1):
        inbox = f"{plain.new_inbox()}.{number}"
        answers = await plain.subscribe(inbox)
        payload = frame.encode({"x": np.ones(1)}, {"delay": 20.0})
        await plain.publish(subject("echo"), payload, reply=inbox)
        calls[number] = inbox, answers
    await plain.flush()
    queued = 0 if running else 1

    async def started() -> bool:
        return (await endpoints(plain, fleet.id))[ECHO]["data"]["queued"] == queued

    async with asyncio.timeout(PATIENCE):
        while not await started():
            pass
    for number in reversed(calls):
        inbox, answers = calls[number]
        await plain.publish(f"npu.v1.cancel.{'.'.join(inbox.split('.')[-2:])}", b"")
        answer = await answers.next_msg(timeout=5)
        assert kind(answer) == "cancelled"


async def test_cancelling_what_does_not_exist_changes_nothing(plain):
    await plain.publish("npu.v1.cancel.nobody.1", b"")
    assert kind(await call(plain, "echo", ONE)) is None


async def test_urgent_lanes_overtake(broker):
    with worker(broker.url, "--executors", "1", "--prefix", "lanes") as alone:
        async with client(broker.url) as plain:
            inbox = plain.new_inbox()
            answers = await plain.subscribe(f"{inbox}.*")

            async def send(lane: str, tag: float, delay: float = 0.0) -> None:
                payload = frame.encode({"tag": np.array(tag)}, {"delay": delay})
                await plain.publish(f"lanes.v1.fallback.{lane}.echo", payload, reply=f"{inbox}.{tag:g}")

            await send("normal", 0, delay=1.0)
            async with asyncio.timeout(PATIENCE):
                while True:
                    counted = (await endpoints(plain, alone.id))["lanes.v1.fallback.*.echo"]
                    if counted["num_requests"] == 1 and counted["data"]["queued"] == 0:
                        break
            lanes = ["low", "normal", "high", "critical", "realtime"]
            for tag, lane in enumerate(lanes, start=1):
                await send(lane, tag)
            order = [float(arrays(await answers.next_msg(timeout=PATIENCE))["tag"]) for _ in range(6)]
            assert order == [0, 5, 4, 3, 2, 1]


async def test_ten_thousand_calls_to_a_worker_that_admits_a_hundred(broker):
    with worker(broker.url, "--queue-limit", "100", "--prefix", "small"):
        async with client(broker.url) as plain:
            inbox = plain.new_inbox()
            answers = await plain.subscribe(inbox)
            for _ in range(10_000):
                await plain.publish("small.v1.fallback.normal.echo", ONE, reply=inbox, headers=deadline(30))
            kinds = [kind(reply) for reply in [await answers.next_msg(timeout=PATIENCE) for _ in range(10_000)]]
            assert set(kinds) <= {None, "overloaded"}
            assert kinds.count(None) >= 100


async def test_overload_says_when_to_try_again(broker):
    with worker(broker.url, "--queue-limit", "1", "--executors", "1", "--prefix", "tiny"):
        async with client(broker.url) as plain:
            inbox = plain.new_inbox()
            answers = await plain.subscribe(inbox)
            for _ in range(3):
                payload = frame.encode({"x": np.ones(1)}, {"delay": 0.3})
                await plain.publish("tiny.v1.fallback.normal.echo", payload, reply=inbox)
            replies = [await answers.next_msg(timeout=PATIENCE) for _ in range(3)]
            overloaded = [reply for reply in replies if kind(reply) == "overloaded"]
            assert overloaded
            assert all(int(reply.headers["Npu-Retry-After"]) > 0 for reply in overloaded)
