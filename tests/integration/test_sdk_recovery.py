"""What follows an answer that is no result: another engine, another attempt, or an error of the right class."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from npufleet import AsyncFleet, DeadlineExceededError, InvalidFrameError, OverloadedError, UnavailableError
from npufleet.errors import BY_KIND
from npufleet.recovery import ATTEMPTS, HANDS_OVER
from tests.support.responder import after, echo, failing, listen, respond, silence
from tests.support.waiting import until
from tests.support.worker_stand import Broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nats.aio.msg import Msg

    from tests.support.responder import Responder

X = {"x": np.arange(3.0)}
STAYS = sorted(set(BY_KIND) - HANDS_OVER - {"overloaded"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A broker where only the workers of the running test listen."""
    with Broker() as running:
        yield running.url


@pytest.fixture
async def alone(url: str, transport: str) -> AsyncIterator[AsyncFleet]:
    """A fleet without workers, over each transport."""
    async with AsyncFleet.connect(url, transport=transport) as fleet:
        yield fleet


async def test_nobody_at_all_is_unavailable_at_once(alone: AsyncFleet) -> None:
    with pytest.raises(UnavailableError, match="echo"):
        await alone.call("echo", X, timeout=20)
    assert alone.statistics().errors == {"unavailable": 1}


async def test_no_responders_goes_to_the_fallback_with_the_reason(alone: AsyncFleet, url: str) -> None:
    async with respond(url, "fallback") as python:
        result = await alone.call("echo", X)
    assert result.array.tolist() == [0, 1, 2]
    assert (result.engine, result.fallback_reason) == ("python", "no_responders")
    assert python.heard[0].headers["Npu-Fallback-Reason"] == "no_responders"
    assert alone.statistics().fallbacks == {"no_responders": 1}


@pytest.mark.parametrize("kind", sorted(HANDS_OVER))
async def test_what_one_engine_cannot_do_another_is_asked(alone: AsyncFleet, url: str, kind: str) -> None:
    async with respond(url, "call", failing(kind, "no such\nluck")) as rust, respond(url, "fallback") as python:
        result = await alone.call("echo", X)
    assert result.fallback_reason == f"{kind}: no such luck"
    assert python.heard[0].data == rust.heard[0].data
    assert python.heard[0].headers["Npu-Deadline"] == rust.heard[0].headers["Npu-Deadline"]
    assert alone.statistics().fallbacks == {kind: 1}
    assert alone.statistics().errors == {}


@pytest.mark.parametrize("kind", sorted(HANDS_OVER))
async def test_without_a_fallback_the_first_engine_is_quoted(alone: AsyncFleet, url: str, kind: str) -> None:
    async with respond(url, "call", failing(kind, "no such luck")):
        with pytest.raises(BY_KIND[kind]) as failed:
            await alone.call("echo", X)
    assert failed.value.engine == "rust"
    assert str(failed.value) == "no such luck"


async def test_when_both_engines_fail_the_second_is_raised_and_the_first_is_noted(alone: AsyncFleet, url: str) -> None:
    async with respond(url, "call", failing("device_lost")), respond(url, "fallback", failing("internal", "broken")):
        with pytest.raises(BY_KIND["internal"], match="broken") as failed:
            await alone.call("echo", X)
    assert failed.value.engine == "python"
    assert "device_lost" in failed.value.__notes__[0]


async def test_the_python_engine_is_not_asked_to_fall_back_to_itself(alone: AsyncFleet, url: str) -> None:
    async with (
        respond(url, "call", failing("internal"), engine="python"),
        respond(url, "fallback") as python,
    ):
        with pytest.raises(BY_KIND["internal"]):
            await alone.call("echo", X)
    assert python.heard == []


@pytest.mark.parametrize("kind", STAYS)
async def test_an_error_that_another_engine_cannot_mend_is_raised(alone: AsyncFleet, url: str, kind: str) -> None:
    async with respond(url, "call", failing(kind)), respond(url, "fallback") as python:
        with pytest.raises(BY_KIND[kind]) as failed:
            await alone.call("echo", X)
    assert type(failed.value) is BY_KIND[kind]
    assert (failed.value.kind, failed.value.engine) == (kind, "rust")
    assert python.heard == []
    assert alone.statistics().errors == {kind: 1}


async def test_an_answer_without_frame_or_kind_is_an_invalid_frame(alone: AsyncFleet, url: str) -> None:
    async def nothing(responder: Responder, message: Msg) -> None:
        await responder.client.publish(message.reply)

    async with respond(url, "call", nothing):
        with pytest.raises(InvalidFrameError):
            await alone.call("echo", X)


@pytest.mark.parametrize("payload", [b"short", b'\x10\0\0\0\0\0\0\0{"x":', b"\xff" * 64], ids=["short", "cut", "huge"])
async def test_an_answer_that_is_no_frame_is_refused(alone: AsyncFleet, url: str, payload: bytes) -> None:
    async def garbage(responder: Responder, message: Msg) -> None:
        await responder.client.publish(message.reply, payload)

    async with respond(url, "call", garbage):
        with pytest.raises(InvalidFrameError):
            await alone.call("echo", X)


async def test_overloaded_is_tried_again_after_the_time_it_asks_for(alone: AsyncFleet, url: str) -> None:
    async def second_time(responder: Responder, message: Msg) -> None:
        if len(responder.heard) < 2:
            await responder.fail(message, "overloaded", **{"Npu-Retry-After": "30000"})
        else:
            await responder.echo(message)

    async with respond(url, "call", second_time):
        started = time.monotonic()
        result = await alone.call("echo", X)
    assert time.monotonic() - started >= 0.03
    assert result.fallback_reason is None
    assert alone.statistics().retries == 1


async def test_overloaded_for_good_is_raised_with_retry_after(alone: AsyncFleet, url: str) -> None:
    async with respond(url, "call", failing("overloaded", **{"Npu-Retry-After": "2500"})) as rust:
        with pytest.raises(OverloadedError) as full:
            await alone.call("echo", X)
    assert full.value.retry_after == 0.0025
    assert len(rust.heard) == ATTEMPTS


async def test_overloaded_is_not_retried_past_the_deadline(alone: AsyncFleet, url: str) -> None:
    async with respond(url, "call", failing("overloaded", **{"Npu-Retry-After": "60000000"})) as rust:
        started = time.monotonic()
        with pytest.raises(OverloadedError):
            await alone.call("echo", X, timeout=5)
    assert time.monotonic() - started < 5
    assert len(rust.heard) == 1


async def test_a_hanging_engine_is_replaced_at_half_time(alone: AsyncFleet, url: str) -> None:
    async with (
        respond(url, "call", silence) as rust,
        respond(url, "fallback"),
        listen(url, "npu.v1.cancel.>") as cancels,
    ):
        started = time.monotonic()
        result = await alone.call("echo", X, timeout=1.0)
        took = time.monotonic() - started
        assert (result.engine, result.fallback_reason) == ("python", "no_answer")
        assert 0.4 < took < 1.0
        call_id = ".".join(rust.heard[0].reply.rsplit(".", 2)[1:])
        await until(lambda: cancels, "the cancellation of the hanging engine")
        assert cancels[0].subject == f"npu.v1.cancel.{call_id}"


async def test_the_first_good_answer_wins_when_both_work(alone: AsyncFleet, url: str) -> None:
    late = asyncio.Event()

    async def hang_then_let_rust_answer(responder: Responder, message: Msg) -> None:
        late.set()

    async with (
        respond(url, "call", after(late)),
        respond(url, "fallback", hang_then_let_rust_answer) as python,
        listen(url, "npu.v1.cancel.>") as cancels,
    ):
        result = await alone.call("echo", X, timeout=2.0)
        assert (result.engine, result.fallback_reason) == ("rust", None)
        assert python.heard[0].headers["Npu-Fallback-Reason"] == "no_answer"
        call_id = ".".join(python.heard[0].reply.rsplit(".", 2)[1:])
        await until(lambda: cancels, "the cancellation of the slower engine")
        assert cancels[0].subject == f"npu.v1.cancel.{call_id}"


async def test_a_bad_answer_of_the_fallback_does_not_end_the_wait_for_the_first(alone: AsyncFleet, url: str) -> None:
    late = asyncio.Event()

    async def fail(responder: Responder, message: Msg) -> None:
        await responder.fail(message, "internal")
        late.set()

    async with respond(url, "call", after(late)), respond(url, "fallback", fail):
        assert (await alone.call("echo", X, timeout=2.0)).engine == "rust"


async def test_a_request_that_is_at_the_fallback_already_is_not_sent_there_again(alone: AsyncFleet, url: str) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def note(responder: Responder, message: Msg) -> None:
        asked.set()
        await after(answer)(responder, message)

    async with respond(url, "call", after(asked, failing("device_lost"))), respond(url, "fallback", note) as python:
        call = asyncio.ensure_future(alone.call("echo", X, timeout=2.0))
        await asked.wait()
        answer.set()
        assert (await call).fallback_reason == "no_answer"
    assert len(python.heard) == 1


async def test_engines_that_both_hang_end_at_the_deadline(alone: AsyncFleet, url: str) -> None:
    async with respond(url, "call", silence), respond(url, "fallback", silence):
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await alone.call("echo", X, timeout=0.3)
        assert 0.3 <= time.monotonic() - started < 2.0


async def test_cancelling_tells_both_engines(alone: AsyncFleet, url: str) -> None:
    async with (
        respond(url, "call", silence) as rust,
        respond(url, "fallback", silence) as python,
        listen(url, "npu.v1.cancel.>") as cancels,
    ):
        call = asyncio.ensure_future(alone.call("echo", X, timeout=1.0))
        await until(lambda: rust.heard and python.heard, "both engines being asked")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        ids = {".".join(m.reply.rsplit(".", 2)[1:]) for m in (rust.heard[0], python.heard[0])}
        await until(lambda: {m.subject.removeprefix("npu.v1.cancel.") for m in cancels} == ids, "both cancellations")


async def test_a_cancelled_retry_is_not_sent(alone: AsyncFleet, url: str) -> None:
    async with respond(url, "call", failing("overloaded", **{"Npu-Retry-After": "20000000"})) as rust:
        call = asyncio.ensure_future(alone.call("echo", X, timeout=60))
        await until(lambda: rust.heard, "the first request")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(rust.heard) == 1


async def test_a_hand_over_by_the_first_engine_itself_is_reported_as_it_is(alone: AsyncFleet, url: str) -> None:
    """A Rust worker forwards with the same reply subject; the SDK sees only the answer."""

    async def forward(responder: Responder, message: Msg) -> None:
        headers: dict[str, Any] = {**message.headers, "Npu-Fallback-Reason": "unsupported: float16"}
        await responder.client.publish("npu.v1.fallback.normal.echo", message.data, message.reply, headers)

    async with respond(url, "call", forward), respond(url, "fallback", echo) as python:
        result = await alone.call("echo", X)
    assert (result.engine, result.fallback_reason) == ("python", "unsupported: float16")
    assert len(python.heard) == 1
    assert alone.statistics().fallbacks == {"unsupported": 1}
