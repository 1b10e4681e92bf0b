"""Large frames between the pure SDK and Python workers: through the arena, and what happens when that is no way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from npufleet import AsyncFleet, InvalidFrameError, InvalidShapeError, PayloadLostError, PayloadTooLargeError
from npufleet.payload import layout
from npufleet.payload.arena import Arena
from npufleet.payload.layout import Entry
from npufleet.wire import frame
from tests.support.arena_stand import folder_in
from tests.support.broker_stand import source_environment
from tests.support.responder import failing, respond
from tests.support.waiting import until
from tests.support.worker_stand import Broker, WorkerProcess, call, client, kind, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from nats.aio.msg import Msg

    from tests.support.responder import Responder

LARGE = np.random.default_rng(5).standard_normal(1 << 17)
"""1 MiB."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the arenas of this module's processes, and nobody else's."""
    path = tmp_path_factory.mktemp("arenas")
    before = os.environ.get("NPUFLEET_ARENA_DIR")
    os.environ["NPUFLEET_ARENA_DIR"] = str(path)
    yield path
    os.environ.pop("NPUFLEET_ARENA_DIR")
    if before is not None:
        os.environ["NPUFLEET_ARENA_DIR"] = before


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    with Broker() as running:
        yield running.url


@pytest.fixture(scope="module")
def served(url: str, place: Path) -> Iterator[WorkerProcess]:
    """A Python worker that has an arena."""
    with worker(url, "--primary", NPUFLEET_ARENA_DIR=str(place)) as process:
        yield process


@pytest.fixture(scope="module")
def alone(place: Path) -> Iterator[str]:
    """A broker where only the workers of the running test listen."""
    with Broker() as running:
        yield running.url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncFleet]:
    async with AsyncFleet.connect(url, transport="pure") as fleet:
        yield fleet


def arenas(place: Path) -> list[Path]:
    folder = place / f"npufleet-{os.getuid()}"
    # An empty one was being made when its process was killed: it has no memory, and goes after a minute.
    return sorted(file for file in folder.iterdir() if size_of(file)) if folder.exists() else []


def size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def in_use(file: Path) -> int:
    """How many slots of an arena hold a frame: an odd generation, for owners that count it up when they take back."""
    content = file.read_bytes()[layout.TABLE_AT : layout.DATA_AT]
    entries = [Entry.decode(content[at : at + 32]) for at in range(0, len(content), 32)]
    return sum(entry.generation % 2 for entry in entries)


async def free_again(place: Path) -> None:
    await until(lambda: sum(map(in_use, arenas(place))) == 0, "every slot to be free")


@pytest.mark.parametrize("count", [1 << 13, 1 << 17, 1 << 23])
async def test_a_frame_goes_there_and_back_through_the_arena(
    url: str, served: WorkerProcess, place: Path, count: int
) -> None:
    sent = np.arange(float(count))
    async with connected(url) as fleet:
        for _ in range(3):
            result = await fleet.call("echo", sent)
            assert result.array.tobytes() == sent.tobytes()
        assert fleet.statistics().placements == {"arena": 3}
        await free_again(place)


async def test_small_frames_stay_in_the_message(url: str, served: WorkerProcess) -> None:
    async with connected(url) as fleet:
        for count in (1, 100, 8000):
            assert (await fleet.call("echo", np.zeros(count))).array.size == count
        assert fleet.statistics().placements == {"inline": 3}


async def test_a_large_answer_to_a_large_question(url: str, served: WorkerProcess) -> None:
    async with connected(url) as fleet:
        result = await fleet.call("fft", LARGE.reshape(16, -1))
        np.testing.assert_allclose(result.array, np.fft.rfft(LARGE.reshape(16, -1)), atol=1e-9)


async def test_many_at_once_leave_nothing_behind(url: str, served: WorkerProcess, place: Path) -> None:
    frames = [np.full(5000 + number, float(number)) for number in range(100)]
    async with connected(url) as fleet:
        results = await asyncio.gather(*(fleet.call("echo", each) for each in frames))
        for each, result in zip(frames, results, strict=True):
            assert result.array.tobytes() == each.tobytes()
        await free_again(place)


async def test_errors_and_cancelled_calls_leave_nothing_behind(url: str, served: WorkerProcess, place: Path) -> None:
    async with connected(url) as fleet:
        task = asyncio.create_task(fleet.call("echo", LARGE, {"delay": 30.0}))
        await until(lambda: fleet.statistics().placements == {"arena": 1}, "the request")
        await until(lambda: sum(map(in_use, arenas(place))) == 1, "the slot")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(TimeoutError):
            await fleet.call("echo", LARGE, {"delay": 30.0}, timeout=0.3)
        await free_again(place)


async def test_without_an_arena_everything_is_as_before(
    url: str, served: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", "off")
    async with connected(url) as fleet:
        assert (await fleet.call("echo", LARGE[:50_000])).array.size == 50_000
        assert fleet.statistics().placements == {"inline": 1}
        with pytest.raises(PayloadTooLargeError):
            await fleet.call("echo", np.zeros(1 << 20))


async def test_a_worker_that_does_not_see_the_arena_gets_the_frame_inline(alone: str, place: Path) -> None:
    with worker(alone, "--primary", NPUFLEET_ARENA_DIR="off", NPUFLEET_CHANNEL="off"):
        async with connected(alone) as fleet:
            for _ in range(3):
                assert (await fleet.call("echo", LARGE[:50_000])).array.size == 50_000
            assert fleet.statistics().placements == {"arena": 1, "inline": 3}
            with pytest.raises(PayloadTooLargeError, match=r"cannot read the frame.*inline the frame is 8[0-9]* bytes"):
                await fleet.call("echo", np.zeros(1 << 20))
            await free_again(place)


async def test_a_worker_that_knows_no_claims_gets_the_frame_inline(alone: str, place: Path) -> None:
    async def old(responder: Responder, message: Msg) -> None:
        if message.data:
            await responder.echo(message)
        else:
            await responder.fail(message, "invalid_frame", "frame is 0 bytes")

    async with respond(alone, "call", old) as heard, connected(alone) as fleet:
        assert (await fleet.call("echo", LARGE[:50_000])).array.size == 50_000
    assert [len(message.data) > 0 for message in heard.heard] == [False, True]
    assert heard.heard[0].headers["Npu-Deadline"] == heard.heard[1].headers["Npu-Deadline"]


async def test_a_frame_that_is_lost_inline_too_is_an_error(alone: str, place: Path) -> None:
    async with respond(alone, "call", failing("payload_lost", "gone")) as heard, connected(alone) as fleet:
        with pytest.raises(PayloadLostError, match="gone"):
            await fleet.call("echo", LARGE[:50_000])
    assert len(heard.heard) == 2


@pytest.mark.parametrize(
    "claim", ["npu1:hello", f"npu1:{'0' * 32}:0:1:8", "npu1:{arena}:99:1:8", "npu1:{arena}:0:9:1000000"]
)
async def test_a_reply_whose_frame_is_not_there_is_an_error(alone: str, place: Path, claim: str) -> None:
    async def forged(responder: Responder, message: Msg) -> None:
        text = claim.format(arena=message.headers["Npu-Accept"])
        await responder.client.publish(message.reply, headers={"Npu-Engine": "rust", "Npu-Claim": text})

    async with respond(alone, "call", forged), connected(alone) as fleet:
        with pytest.raises((PayloadLostError, InvalidFrameError)) as failed:
            await fleet.call("echo", LARGE[:50_000])
        is_forged = "hello" in claim or ":99:" in claim or "1000000" in claim
        assert failed.value.kind == ("invalid_frame" if is_forged else "payload_lost")
        await free_again(place)


async def test_a_worker_answers_inline_who_takes_no_claims(url: str, served: WorkerProcess, place: Path) -> None:
    arena = Arena(folder_in(place))
    slot = arena.put([frame.encode({"x": LARGE[:50_000]})])
    assert slot is not None
    async with client(url) as plain:
        for accept in ({}, {"Npu-Accept": "0" * 32}, {"Npu-Accept": "../../etc/passwd"}, {"Npu-Accept": "é" * 32}):
            reply = await call(plain, "echo", b"", headers={"Npu-Claim": str(slot.claim), **accept})
            assert len(reply.data) > 400_000
            assert "Npu-Claim" not in reply.headers
        named = {"Npu-Claim": str(slot.claim), "Npu-Accept": slot.claim.arena.hex()}
        reply = await call(plain, "echo", b"", headers=named)
        assert (kind(reply), reply.data) == (None, b"")
        assert reply.headers["Npu-Claim"].startswith("npu1:")
        slot.free()
        assert kind(await call(plain, "echo", b"", headers=named)) == "payload_lost"
    arena.close()
    await free_again(place)


CALLER = """
import asyncio, sys
import numpy as np
from npufleet import AsyncFleet

async def main():
    async with AsyncFleet.connect(sys.argv[1], transport="pure") as fleet:
        print("open", flush=True)
        async def forever():
            while True:
                await fleet.call("echo", np.zeros(50_000))
        await asyncio.gather(*(forever() for _ in range(8)))

asyncio.run(main())
"""


async def test_a_killed_caller_leaves_nothing_behind(url: str, served: WorkerProcess, place: Path) -> None:
    folder = folder_in(place)
    environment = source_environment(NPUFLEET_ARENA_DIR=str(place))
    for _ in range(3):
        before = set(arenas(place))
        command = [sys.executable, "-c", CALLER, url]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: ASYNC220
        await until(lambda before=before: set(arenas(place)) - before, "the caller's arena")  # type: ignore[misc]
        await until(lambda: sum(map(in_use, arenas(place))) > 0, "its calls")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    # The worker finds out by itself: nobody cleans up here.
    await until(lambda: len(arenas(place)) <= 1, "the arenas of the dead to go")
    await free_again(place)
    assert folder.exists()


async def test_a_killed_worker_leaves_nothing_behind(alone: str, place: Path) -> None:
    before = set(arenas(place))
    async with connected(alone) as fleet:
        for _ in range(2):
            with worker(alone, "--primary", NPUFLEET_ARENA_DIR=str(place)) as process:
                assert (await fleet.call("echo", LARGE)).array.size == LARGE.size
                calls = [asyncio.create_task(fleet.call("echo", LARGE, timeout=2)) for _ in range(20)]
                await until(lambda calls=calls: any(each.done() for each in calls), "an answer")  # type: ignore[misc]
                process.process.kill()
                done = await asyncio.gather(*calls, return_exceptions=True)
            for each in done:
                if isinstance(each, BaseException):
                    assert isinstance(each, TimeoutError | PayloadLostError), each
                else:
                    assert each.array.tobytes() == LARGE.tobytes()
        own = fleet.statistics().placements["arena"]
        assert own >= 42
        await until(lambda: len(set(arenas(place)) - before) == 1, "the arena of the dead worker to go")
        await free_again(place)


async def test_a_worker_that_stops_lets_its_last_answers_be_read(alone: str, place: Path) -> None:
    before = set(arenas(place))
    async with connected(alone) as fleet:
        with worker(alone, "--primary", NPUFLEET_ARENA_DIR=str(place)) as process:
            assert (await fleet.call("echo", LARGE)).array.size == LARGE.size
            calls = [asyncio.create_task(fleet.call("echo", LARGE, {"delay": 0.2})) for _ in range(4)]
            await until(lambda: fleet.statistics().placements["arena"] == 5, "the calls")
            await until(lambda: sum(map(in_use, arenas(place))) >= 4, "the frames")
            await fleet.call("echo", np.zeros(3))
            assert await asyncio.to_thread(process.terminate) == 0
            for result in await asyncio.gather(*calls):
                assert result.array.tobytes() == LARGE.tobytes()
    assert set(arenas(place)) <= before


async def test_empty_and_asarray_give_arrays_to_send(url: str, served: WorkerProcess) -> None:
    async with connected(url) as fleet:
        array = fleet.empty((100, 100), np.float32)
        assert (array.shape, array.dtype) == ((100, 100), np.float32)
        array[...] = 7
        assert (await fleet.call("echo", array)).array.tobytes() == array.tobytes()
        assert fleet.asarray([1.0, 2.0]).tolist() == [1.0, 2.0]
        assert fleet.empty(3).dtype == np.float64
        with pytest.raises(InvalidShapeError, match="object"):
            fleet.empty(3, object)
        with pytest.raises(InvalidShapeError, match="nonsense"):
            fleet.empty(3, "nonsense")
        with pytest.raises(InvalidShapeError, match="9 dimensions"):
            fleet.empty((1,) * 9)


KILLS = 60
BASELINE_S = 5.0


@pytest.mark.slow
async def test_kills_of_both_sides_at_any_moment_leave_no_slot_in_use(alone: str, place: Path) -> None:
    random = np.random.default_rng(17)
    environment = source_environment(NPUFLEET_ARENA_DIR=str(place))
    before = set(arenas(place))
    kills = 0
    async with connected(alone) as fleet:
        while kills < KILLS:
            with worker(alone, "--primary", NPUFLEET_ARENA_DIR=str(place)) as served:
                for _ in range(10):
                    command = [sys.executable, "-c", CALLER, alone]
                    caller = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: ASYNC220
                    assert caller.stdout is not None
                    await asyncio.to_thread(caller.stdout.readline)
                    await asyncio.sleep(random.uniform(0.0, 0.3))
                    caller.kill()
                    await asyncio.to_thread(caller.communicate)
                    kills += 1
                    assert (await fleet.call("echo", LARGE)).array.tobytes() == LARGE.tobytes()
                calls = [asyncio.create_task(fleet.call("echo", LARGE, timeout=2)) for _ in range(8)]
                await asyncio.sleep(random.uniform(0.0, 0.1))
                served.process.kill()
                kills += 1
                for each in await asyncio.gather(*calls, return_exceptions=True):
                    assert isinstance(each, TimeoutError | PayloadLostError) or each.array.size == LARGE.size
        # Ours is left, and nothing is in it.
        await until(lambda: len(set(arenas(place)) - before) == 1, "the arenas of the dead to go", BASELINE_S)
        await until(lambda: sum(map(in_use, set(arenas(place)) - before)) == 0, "every slot to be free", BASELINE_S)
