"""Calls that share a message: as many as answers say, and each with its own fate."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("npufleet._native", reason="the compiled core is not built")

from tests.support.bundles import BUNDLE, LIMIT, Part, bundle, parts
from tests.support.native_stand import SUBJECT, broker, plain_client, settled, soon, transport

pytestmark = pytest.mark.usefixtures("without_arena")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

    from npufleet.broker.server import Server
    from npufleet.transport.connection import Client
    from npufleet.transport.native import NativeTransport

OTHER = "npu.v1.call.normal.fft"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with broker(tmp_path) as started:
        yield started


@asynccontextmanager
async def worker(server: Server, limit: int) -> AsyncIterator[tuple[Client, list[int]]]:
    """Answer each call with its payload, bundles with bundles; the list is how many calls each message held."""
    sizes: list[int] = []

    async def answer(message: Msg) -> None:
        calls = parts(message)
        sizes.append(len(calls))
        answers = [Part(call.reply, "", {LIMIT: str(limit)}, call.payload) for call in calls]
        if len(calls) == 1:
            await client.publish(answers[0].subject, answers[0].payload, headers=answers[0].headers)
            return
        inbox = calls[0].reply.rpartition(".")[0]
        # An answer alone is as good as one in a bundle, and their order is anything.
        await client.publish(answers[0].subject, answers[0].payload, headers=answers[0].headers)
        await client.publish(f"{inbox}.bundle", bundle(answers[:0:-1]), headers={BUNDLE: str(len(answers) - 1)})

    async with plain_client(server) as client:
        subscription = await client.subscribe("npu.v1.call.>", cb=answer)
        await client.flush()
        yield client, sizes
        await subscription.unsubscribe()
        await client.flush()


async def burst(fleet: NativeTransport, frames: list[bytes], subject: str = SUBJECT) -> list[tuple[int, bytes]]:
    flights = [fleet.request(subject, frame, soon(), None) for frame in frames]
    replies = await asyncio.gather(*map(settled, flights))
    return [(reply.status, reply.payload) for reply in replies]


def frames(count: int, size: int = 8) -> list[bytes]:
    return [number.to_bytes(8, "little").ljust(size, b"\n") for number in range(count)]


@pytest.mark.parametrize(("limit", "expected"), [(10, [1, 10, 10, 4]), (1000, [1, 24]), (1, [1] * 25)])
async def test_a_burst_shares_as_few_messages_as_answers_allow(server: Server, limit: int, expected: list[int]) -> None:
    async with transport(server) as fleet, worker(server, limit) as (_, sizes):
        await burst(fleet, frames(1))
        sizes.clear()
        # The first leaves at once: nothing else is on its way.
        answered = await burst(fleet, frames(25))
        assert answered == [(0, frame) for frame in frames(25)]
        assert sizes == expected


async def test_of_many_the_first_do_not_wait_for_the_last(server: Server) -> None:
    async with transport(server) as fleet, worker(server, 1000) as (_, sizes):
        await burst(fleet, frames(1))
        sizes.clear()
        assert await burst(fleet, frames(100)) == [(0, frame) for frame in frames(100)]
        assert sizes == [1, 32, 32, 32, 3]


async def test_nothing_is_shared_before_an_answer_says_so(server: Server) -> None:
    async with transport(server) as fleet, worker(server, 64) as (_, sizes):
        await burst(fleet, frames(5))
        assert sizes == [1] * 5
        sizes.clear()
        await burst(fleet, frames(5), OTHER)
        assert sizes == [1] * 5


async def test_subjects_do_not_mix_and_large_frames_go_alone(server: Server) -> None:
    async with transport(server) as fleet, worker(server, 64) as (_, sizes):
        for subject in (SUBJECT, OTHER):
            await burst(fleet, frames(1), subject)
        sizes.clear()
        one, other, large = await asyncio.gather(
            burst(fleet, frames(7)), burst(fleet, frames(9), OTHER), burst(fleet, frames(3, size=5000))
        )
        assert (one, other) == ([(0, frame) for frame in frames(7)], [(0, frame) for frame in frames(9)])
        assert large == [(0, frame) for frame in frames(3, size=5000)]
        assert sorted(sizes) == [1, 1, 1, 1, 6, 9]


async def test_much_travels_in_several_bundles(server: Server) -> None:
    async with transport(server) as fleet, worker(server, 64) as (_, sizes):
        await burst(fleet, frames(1))
        sizes.clear()
        assert await burst(fleet, frames(200, size=2000)) == [(0, frame) for frame in frames(200, size=2000)]
        assert sum(sizes) == 200
        assert 2 <= max(sizes) <= 16, "a bundle has 32 KiB"


async def test_nobody_who_listens_is_the_answer_to_every_call(server: Server) -> None:
    async with transport(server) as fleet:
        async with worker(server, 64):
            await burst(fleet, frames(1))
        assert await burst(fleet, frames(20)) == [(503, b"")] * 20
        async with worker(server, 64) as (_, sizes):
            assert await burst(fleet, frames(20)) == [(0, frame) for frame in frames(20)]
            assert sizes == [1] * 20, "others may be there now"


async def test_a_call_in_a_bundle_can_be_cancelled_alone(server: Server) -> None:
    async with transport(server) as fleet:
        async with worker(server, 64):
            await burst(fleet, frames(1))
        heard: asyncio.Queue[Msg] = asyncio.Queue()
        async with plain_client(server) as client:
            for subject in ("npu.v1.call.>", "npu.v1.cancel.>"):
                await client.subscribe(subject, cb=heard.put)
            await client.flush()
            flights = [asyncio.ensure_future(settled(fleet.request(SUBJECT, f, soon(), None))) for f in frames(3)]
            calls = [call for _ in range(2) for call in parts(await asyncio.wait_for(heard.get(), 10))]
            assert [call.payload for call in calls] == frames(3)
            flights[1].cancel()
            cancelled = await asyncio.wait_for(heard.get(), 10)
            assert cancelled.subject == f"npu.v1.cancel.{'.'.join(calls[1].reply.split('.')[-2:])}"
            for call in calls:
                await client.publish(call.reply, call.payload)
            assert [(await flights[n]).payload for n in (0, 2)] == [frames(3)[n] for n in (0, 2)]
            with pytest.raises(asyncio.CancelledError):
                await flights[1]


async def test_a_broker_for_small_messages_gets_no_bundles(tmp_path: Path) -> None:
    async with (
        broker(tmp_path, "max_payload: 20000\n") as small,
        transport(small) as fleet,
        worker(small, 64) as (_, sizes),
    ):
        await burst(fleet, frames(1))
        await burst(fleet, frames(9))
        assert sizes == [1] * 10
