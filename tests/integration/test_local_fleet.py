"""A local fleet: what it starts, how it fails, how it restarts what crashes, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from npufleet.broker import folder
from npufleet.broker.buckets import FILES_BUCKET, MODELS, STATUS
from npufleet.broker.local import LocalFleet
from npufleet.errors import InvalidParameterError, UnavailableError
from npufleet.transport.connection import Client
from tests.support.broker_stand import alive, fake_worker, proc
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep temporary folders where the test can see them, and let a stand-in be the Rust worker."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("NPUFLEET_WORKER_BINARY", fake_worker(tmp_path))
    monkeypatch.delenv("NPUFLEET_NATIVE", raising=False)


@pytest.fixture
async def fleet() -> AsyncIterator[LocalFleet]:
    async with await LocalFleet.start(["rust"]) as running:
        yield running


def left_behind(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "temporary").iterdir())


def folder_of(fleet: LocalFleet) -> Path:
    return next(Path(event["folder"]) for event in fleet.events if event["event"] == "ready" and "folder" in event)


def logged(fleet: LocalFleet, pattern: str) -> Any:
    return [event for event in fleet.events if event["event"] == "log" and re.search(pattern, event["text"])]


async def connect(url: str) -> Client:
    client = Client()
    await client.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_ignore)
    return client


async def _ignore(_: Exception) -> None:
    return


async def test_starts_answers_and_leaves_nothing(tmp_path: Path) -> None:
    fleet = await LocalFleet.start(["rust", "rust"], queue_limit=100, devices="CPU")
    assert list(fleet.pids) == ["broker", "rust", "rust-2"]
    assert all(alive(pid) for pid in fleet.pids.values())
    client = await connect(fleet.url)
    for bucket in (MODELS.bucket, STATUS.bucket):
        await client.jetstream().key_value(str(bucket))
    await client.jetstream().object_store(FILES_BUCKET)
    await client.close()
    await until(lambda: logged(fleet, "--json --drain-timeout 10 --queue-limit 100 --devices CPU"))
    pids = list(fleet.pids.values())
    place = folder_of(fleet)
    assert place.stat().st_mode & 0o777 == 0o700
    await fleet.stop()
    await fleet.stop()
    assert fleet.pids == {}
    assert not any(alive(pid) for pid in pids)
    assert left_behind(tmp_path) == []


async def test_password_is_in_no_process_list(fleet: LocalFleet) -> None:
    password = fleet.url.split(":")[2].split("@")[0]
    for pid in fleet.pids.values():
        assert password not in proc(pid, "cmdline")
    assert not logged(fleet, password)


async def test_what_callers_set_reaches_the_broker_but_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPUFLEET_URL", "nats://elsewhere:1")
    monkeypatch.setenv("GOGC", "150")
    monkeypatch.setenv("NPUFLEET_TLS_CA", "/nowhere")
    async with await LocalFleet.start(["rust"]) as fleet:
        port = fleet.url.rpartition(":")[2]
        await until(lambda: logged(fleet, f"listening to nats://127.0.0.1:{port} "))
        environment = proc(fleet.pids["rust"], "environ")
        assert "NPUFLEET_TLS_CA" not in environment
        broker = proc(fleet.pids["broker"], "environ").split("\0")
        assert {"GOGC=150", "GOMEMLIMIT=4GiB"} <= set(broker)


async def test_a_killed_worker_is_started_again(fleet: LocalFleet) -> None:
    first = fleet.pids["rust"]
    os.kill(first, signal.SIGKILL)
    event = await asyncio.wait_for(fleet.wait_event(lambda event: event["event"] == "exited"), 20)
    assert (event["child"], event["status"], event["expected"], event["restart_in"]) == ("rust", -9, False, 0.5)
    second = await until(lambda: fleet.pids.get("rust"))
    assert second != first
    os.kill(second, signal.SIGKILL)
    event = await asyncio.wait_for(
        fleet.wait_event(lambda event: event["event"] == "exited" and event["pid"] == second), 20
    )
    assert event["restart_in"] == 1.0
    assert alive(await until(lambda: fleet.pids.get("rust")))


async def test_a_killed_broker_comes_back_at_the_same_address(fleet: LocalFleet) -> None:
    client = await connect(fleet.url)
    context = client.jetstream()
    await (await context.key_value("npu_models")).put("kept.1", b"value")
    first = fleet.pids["broker"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: fleet.pids.get("broker") not in (None, first))
    await until(lambda: client.is_connected, what="reconnection")

    async with asyncio.timeout(20):
        while True:  # the buckets are made after the server accepts
            try:
                status = await context.key_value("npu_model_status")
                break
            except Exception:  # noqa: BLE001 - whatever the client says while the server comes up
                await asyncio.sleep(0.05)
    await status.put("kept.1.w", b"x")
    assert (await (await context.key_value("npu_models")).get("kept.1")).value == b"value"
    await client.close()


async def test_a_killed_supervisor_takes_everything_along(fleet: LocalFleet, tmp_path: Path) -> None:
    pids = list(fleet.pids.values())
    fleet._process.kill()
    await asyncio.wait_for(fleet.wait_stopped(), 20)
    await until(lambda: not any(alive(pid) for pid in pids), what="end of the children")
    with pytest.raises(UnavailableError, match="stopped"):
        await asyncio.wait_for(fleet.wait_event(lambda event: False), 20)
    assert left_behind(tmp_path) != []
    await fleet.stop()
    assert left_behind(tmp_path) == []


async def test_abandoned_folders_are_swept(fleet: LocalFleet, tmp_path: Path) -> None:
    abandoned = tmp_path / "temporary" / f"{folder.PREFIX}abandoned"
    (abandoned / "store").mkdir(parents=True)
    namesake = abandoned.with_name(f"{folder.PREFIX}file")
    namesake.touch()
    folder.sweep()
    assert not abandoned.exists()
    assert namesake.exists()
    assert folder_of(fleet).exists(), "the folder of a running fleet stays"


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (
            "fail",
            r"^rust ended with status 7 before it was ready: no such device: flux capacitor\nrust logged:\n  no such",
        ),
        ("hang", r"^rust was not ready within 5 s: listening to "),
    ],
)
async def test_a_worker_that_does_not_come_up(
    mode: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", mode)
    events: list[dict[str, Any]] = []
    with pytest.raises(UnavailableError, match=message):
        await LocalFleet.start(["rust"], start_timeout=20 if mode == "fail" else 5, on_event=events.append)
    pids = [event["pid"] for event in events if event["event"] == "started"]
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)
    assert left_behind(tmp_path) == []


async def test_a_deaf_worker_is_killed_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "deaf")
    fleet = await LocalFleet.start(["rust"], drain_timeout=0.1)
    await asyncio.wait_for(fleet.wait_event(lambda event: event["event"] == "deaf"), 20)
    await fleet.stop()
    assert [event["status"] for event in fleet.events if event["event"] == "exited"] == [-9, 0]


async def test_a_listener_that_does_not_read_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "chatty")
    async with await LocalFleet.start(["rust"]) as fleet:
        client = await connect(fleet.url)
        fleet._process.stdout._transport.pause_reading()  # type: ignore[union-attr]
        await asyncio.to_thread(_wait_for_growth, fleet.pids["rust"])
        await asyncio.wait_for(client.flush(), 5)
        fleet._process.stdout._transport.resume_reading()  # type: ignore[union-attr]
        dropped = await asyncio.wait_for(fleet.wait_event(lambda event: event["event"] == "dropped"), 20)
        assert dropped["lines"] > 0
        await client.close()


def _wait_for_growth(pid: int) -> None:
    """Wait until a process has written more than any pipe and buffer on the way could take."""
    start = _written(pid)
    while _written(pid) < start + (8 << 20):
        os.sched_yield()


def _written(pid: int) -> int:
    return int(re.findall(r"wchar: (\d+)", proc(pid, "io"))[0])


async def test_wrong_requests_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="worker is 'fortran'; allowed: rust, python"):
        await LocalFleet.start(["fortran"])
    with pytest.raises(InvalidParameterError, match="unknown worker option 'speed'; allowed: queue_limit, "):
        await LocalFleet.start(["rust"], speed=11)
    assert left_behind(tmp_path) == []


async def test_a_store_is_kept_and_belongs_to_one_fleet_at_a_time(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await LocalFleet.start([], store=store) as fleet:
        client = await connect(fleet.url)
        await (await client.jetstream().key_value("npu_models")).put("kept.1", b"value")
        await client.close()
        with pytest.raises(UnavailableError, match="another fleet uses it"):
            await LocalFleet.start([], store=store)
    assert left_behind(tmp_path) == []
    async with await LocalFleet.start([], store=store) as fleet:
        client = await connect(fleet.url)
        assert (await (await client.jetstream().key_value("npu_models")).get("kept.1")).value == b"value"
        await client.close()


async def test_a_taken_port_is_named(fleet: LocalFleet, tmp_path: Path) -> None:
    port = int(fleet.url.rpartition(":")[2])
    with pytest.raises(UnavailableError, match=r"broker ended with status 1 .*address already in use"):
        await LocalFleet.start([], port=port)


async def test_no_server_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NPUFLEET_NATS_SERVER", str(tmp_path / "nowhere"))
    with pytest.raises(UnavailableError, match="NPUFLEET_NATS_SERVER is"):
        await LocalFleet.start([])
    assert left_behind(tmp_path) == []


async def test_cancelling_the_start_stops_what_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "hang")
    events: list[dict[str, Any]] = []
    starting = asyncio.create_task(LocalFleet.start(["rust"], on_event=events.append))
    await until(lambda: [event for event in events if event.get("child") == "rust"])
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not any(alive(event["pid"]) for event in events if event["event"] == "started")
    assert left_behind(tmp_path) == []


async def test_without_the_extension_python_serves_the_calls_and_a_note_says_so() -> None:
    async with await LocalFleet.start(environment={"NPUFLEET_NATIVE": "off"}) as fleet:
        assert list(fleet.pids) == ["broker", "python"]
        assert fleet.notes == [
            "no Rust worker: NPUFLEET_NATIVE is 'off'; the Python worker serves the call subjects too"
        ]
        client = await connect(fleet.url)
        answer = await client.request("npu.v1.call.normal.echo", safetensors.numpy.save({"x": np.arange(3)}), timeout=5)
        assert safetensors.numpy.load(answer.data)["x"].tolist() == [0, 1, 2]
        assert answer.headers is not None
        assert answer.headers["Npu-Engine"] == "python"
        await client.close()


async def test_a_rust_worker_alone_cannot_be_replaced() -> None:
    with pytest.raises(UnavailableError, match="no Rust worker can run: NPUFLEET_NATIVE is 'off'"):
        await LocalFleet.start(["rust"], environment={"NPUFLEET_NATIVE": "off"})
