"""The compiled core's way for jobs, before a stand-in for a stream that answers what a test says."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("npufleet._native", reason="the compiled core is not built")

from npufleet.errors import InvalidParameterError, PayloadTooLargeError, UnavailableError, UnknownOutcomeError
from npufleet.wire import frame
from tests.support.native_stand import broker, plain_client, transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

    from npufleet import _native
    from npufleet.broker.server import Server
    from npufleet.transport.native import NativeTransport

SUBJECT = "npu.v1.job.normal.echo"
SHARED = {"Npu-Notify": "_INBOX.a", "Nats-Expected-Stream": "JOBS"}
X = np.arange(4.0)
FRAME = frame.encode({"x": X})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with broker(tmp_path) as started:
        yield started


@asynccontextmanager
async def stream(server: Server, answer: dict[str, Any] | None) -> AsyncIterator[asyncio.Queue[Msg]]:
    """Hear jobs and cancellations, and answer those that want it, unless `answer` is None."""
    heard: asyncio.Queue[Msg] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        await heard.put(message)
        if message.reply and answer is not None:
            await message.respond(json.dumps(answer).encode())

    async with plain_client(server) as client:
        for subject in ("npu.v1.job.>", "npu.v1.cancel.>"):
            await client.subscribe(subject, cb=hear)
        await client.flush()
        yield heard


def learnt(fleet: NativeTransport) -> _native.JobRoute:
    route = fleet.job_route(SUBJECT, None, SHARED)
    assert route.begin({"x": X}, 1.0) is None, "nothing like it was seen"
    route.learn({"x": X}, FRAME)
    return route


def begun(route: _native.JobRoute, seconds: float = 5.0, *more: Any) -> _native.Flight:
    flight = route.begin({"x": X}, seconds, *more)
    assert flight is not None
    return flight


def batch_of(route: _native.JobRoute) -> _native.JobBatch:
    batch = route.batch()
    assert batch is not None
    return batch


async def test_a_job_like_one_before_is_begun(server: Server) -> None:
    async with transport(server) as fleet, stream(server, {"stream": "JOBS", "seq": 1}) as heard:
        flight = begun(learnt(fleet), 5.0, {"Npu-Deadline": "7"})
        await flight
        assert flight.plain
        assert re.fullmatch("[0-9a-f]{32}", flight.origin)
        sent = await asyncio.wait_for(heard.get(), 5)
        assert (sent.subject, sent.data) == (SUBJECT, FRAME)
        own = {"Npu-Job-Id": flight.origin, "Nats-Msg-Id": flight.origin, "Npu-Deadline": "7"}
        assert sent.headers == SHARED | own | {"Npu-Submitted": sent.headers["Npu-Submitted"]}


async def test_an_id_may_be_given(server: Server) -> None:
    async with transport(server) as fleet, stream(server, {"stream": "JOBS", "seq": 1}):
        flight = begun(learnt(fleet), 5.0, None, "mine")
        await flight
        assert flight.origin == "mine"


@pytest.mark.parametrize("answer", [{"error": {"code": 503, "err_code": 10077}, "seq": 0}, {"stream": "JOBS"}, {}])
async def test_what_is_not_stored_keeps_its_frame(server: Server, answer: dict[str, Any]) -> None:
    async with transport(server) as fleet, stream(server, answer):
        flight = begun(learnt(fleet))
        await flight
        assert not flight.plain
        assert (flight.frame, json.loads(bytes(flight.payload))) == (FRAME, answer)


async def test_without_a_stream_the_broker_says_so(server: Server) -> None:
    async with transport(server) as fleet:
        flight = begun(learnt(fleet))
        await flight
        assert (flight.plain, flight.status, flight.frame) == (False, 503, FRAME)


async def test_without_an_answer_the_outcome_is_unknown(server: Server) -> None:
    async with transport(server) as fleet, stream(server, None) as heard:
        route = learnt(fleet)
        late, given_up, lost = (begun(route, seconds) for seconds in (0.1, 10.0, 10.0))
        with pytest.raises(UnknownOutcomeError):
            await late
        given_up.cancel()
        await server.stop()
        with pytest.raises(UnknownOutcomeError):
            await lost
        assert (late.frame, lost.frame) == (FRAME, FRAME)
        # Nobody works on it yet, so nobody is told.
        assert {(await heard.get()).subject for _ in range(heard.qsize())} == {SUBJECT}


async def test_without_a_connection_nothing_is_begun(server: Server) -> None:
    async with transport(server) as fleet:
        route = learnt(fleet)
        await fleet.close()
        assert route.begin({"x": X}, 1.0) is None
        assert route.batch() is None


async def test_headers_cannot_smuggle_protocol(server: Server) -> None:
    async with transport(server) as fleet:
        with pytest.raises(InvalidParameterError):
            fleet.job_route(SUBJECT, None, {"name": "two\r\nlines"})
        with pytest.raises(InvalidParameterError):
            begun(learnt(fleet), 1.0, {"na:me": "x"})


async def test_a_batch_is_one_for_the_stream(server: Server) -> None:
    async with transport(server) as fleet, stream(server, {"stream": "JOBS", "seq": 3, "count": 3}) as heard:
        batch = batch_of(learnt(fleet))
        other = frame.encode({"x": X[:1]})
        assert batch.extend([{"x": X}, {"x": X[:1]}], 0, 2, {"Npu-Deadline": "7"}) == 1, "the second was not learnt"
        assert batch.append(other, None, "mine")
        assert batch.extend([{"x": X}], 0, 1) == 1
        flight = batch.send(5.0)
        await flight
        assert flight.plain
        sent = [await asyncio.wait_for(heard.get(), 5) for _ in range(3)]
        assert [message.data for message in sent] == [FRAME, other, FRAME]
        assert [message.headers["Nats-Batch-Sequence"] for message in sent] == ["1", "2", "3"]
        assert [message.headers.get("Nats-Batch-Commit") for message in sent] == [None, None, "1"]
        assert [message.headers.get("Npu-Deadline") for message in sent] == ["7", None, None]
        assert len({message.headers["Nats-Batch-Id"] for message in sent}) == 1
        ids = [message.headers["Npu-Job-Id"] for message in sent]
        assert ids == [message.headers["Nats-Msg-Id"] for message in sent] == batch.ids
        assert ids[1] == "mine"
        assert batch.jobs() == [
            (ids[0], FRAME, {"Npu-Deadline": "7"}),
            ("mine", other, None),
            (ids[2], FRAME, None),
        ]


async def test_a_batch_that_is_stored_in_part_is_not_stored(server: Server) -> None:
    async with transport(server) as fleet, stream(server, {"stream": "JOBS", "seq": 2, "count": 1}):
        batch = batch_of(learnt(fleet))
        assert batch.extend([{"x": X}] * 2, 0, 2) == 2
        flight = batch.send(5.0)
        await flight
        assert not flight.plain


async def test_a_batch_has_limits(server: Server) -> None:
    async with transport(server) as fleet:
        route = learnt(fleet)
        full, large = batch_of(route), batch_of(route)
        assert full.extend([{"x": X}] * 1001, 0, 1001) == len(full) == 1000
        assert not full.append(FRAME)
        assert large.append(bytes(32 << 20))
        assert not large.append(FRAME)
        with pytest.raises(PayloadTooLargeError) as refused:
            large.send(1.0)
        assert refused.value.limit == fleet.max_payload
        await fleet.close()
        with pytest.raises(UnavailableError):
            full.send(1.0)


async def test_jobs_of_one_turn_are_stored_together(server: Server) -> None:
    async with transport(server) as fleet, stream(server, {"stream": "JOBS", "seq": 3, "count": 3}) as heard:
        route = learnt(fleet)
        flights = [begun(route), begun(route), begun(route)]
        await asyncio.gather(*flights)
        assert [flight.plain for flight in flights] == [True] * 3
        sent = [await asyncio.wait_for(heard.get(), 5) for _ in range(3)]
        assert [message.headers["Npu-Job-Id"] for message in sent] == [flight.origin for flight in flights]
        assert [message.headers["Nats-Batch-Sequence"] for message in sent] == ["1", "2", "3"]
        assert [bool(message.reply) for message in sent] == [False, False, True]


async def test_jobs_that_are_not_stored_together_are_sent_each_alone(server: Server) -> None:
    async with transport(server) as fleet, stream(server, {"stream": "JOBS", "seq": 1}) as heard:
        route = learnt(fleet)
        flights = [begun(route) for _ in range(4)]
        flights[1].cancel()
        for flight in (flights[0], *flights[2:]):
            await flight
        # The answer has no count, so it is none to a batch.
        assert [flight.plain for flight in flights] == [True, False, True, True]
        sent = [await asyncio.wait_for(heard.get(), 5) for _ in range(6)]
        assert [message.headers.get("Nats-Batch-Sequence") for message in sent] == ["1", "2", "3", None, None, None]
        wanted = [flight.origin for number, flight in enumerate(flights) if number != 1]
        assert [message.headers["Npu-Job-Id"] for message in sent] == wanted * 2
        assert heard.empty()
