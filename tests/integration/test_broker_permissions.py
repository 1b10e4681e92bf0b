"""What each role of durable.conf may do on a real server with TLS, and above all what it may not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from npufleet.broker import buckets
from npufleet.control import Control
from npufleet.errors import UnavailableError
from npufleet.models import Models
from npufleet.transport.connection import Client, connect
from npufleet.transport.options import ConnectOptions
from tests.support.broker_stand import Durable, durable
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

ONNX = bytes((0x08, 0x08, 0x3A, 0x00))  # the smallest file with a model's first field and a graph
CALL = "npu.v1.call.normal.fft"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Durable]:
    async with durable(tmp_path) as running:
        yield running


def options(broker: Durable, user: str) -> ConnectOptions:
    return ConnectOptions(broker.url, user=user, password=broker.passwords[user], tls_ca=str(broker.authority))


async def refused(broker: Durable, user: str, subject: str) -> None:
    """Wait until the server has said that this user may not do something with this subject."""
    await until(
        lambda: [text for text in broker.errors[user] if "permissions violation" in text and subject.lower() in text],
        seconds=5,
        what=f"refusal of {subject} for {user}; said so far: {broker.errors[user]}",
    )


@pytest.mark.parametrize(
    ("user", "subject", "queue"),
    [
        ("client1", "_INBOX_client2.>", ""),
        ("client1", "_INBOX_worker.>", ""),
        ("client1", "_INBOX.>", ""),
        ("client1", ">", ""),
        ("client1", "*.>", ""),
        ("client1", CALL, "rust"),
        ("client1", CALL, ""),
        ("client1", "npu.v1.fallback.>", "python"),
        ("client1", "npu.v1.cancel.>", ""),
        ("client1", "$SRV.>", ""),
        ("client1", "$KV.npu_models.>", ""),
        ("client1", "npu.v1.job.>", ""),
        ("client1", "npu.v1.result.>", ""),
        ("client1", "npu.v1.advance.>", ""),
        ("client1", "npu.v1.flow.>", ""),
        ("worker", "npu.v1.job.>", ""),
        ("worker", CALL, ""),
        ("worker", CALL, "listeners"),
        ("worker", "npu.v1.fallback.normal.fft", ""),
        ("worker", "_INBOX_client1.>", ""),
        ("agent", CALL, "rust"),
        ("agent", "npu.v1.agent.x.y", ""),
        ("agent", "_INBOX_client1.>", ""),
        ("client1", "npu.v1.agent.x.y", "q"),
        ("client1", "npu.v1.topic.>", ""),
        ("operator", CALL, "rust"),
        ("operator", "_INBOX_client1.>", ""),
        ("operator", ">", ""),
    ],
)
async def test_may_not_subscribe(broker: Durable, user: str, subject: str, queue: str) -> None:
    client = await broker.connect(user)
    await client.subscribe(subject, queue=queue)
    await refused(broker, user, subject)
    await client.close()


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("client1", "_INBOX_client2.a.1"),
        ("client1", "npu.v1.result.a"),
        ("client1", "npu.v1.dead.fft.a"),
        ("client1", "npu.v1.event.a"),
        ("client1", "npu.v1.due.normal.fft"),
        ("client1", "$JS.API.DIRECT.GET.JOBS"),
        ("client1", "$JS.API.DIRECT.GET.RESULTS"),
        ("client1", "$JS.API.DIRECT.GET.DEAD.npu.v1.dead.fft.a"),
        ("client1", "$JS.API.STREAM.INFO.RESULTS"),
        ("client1", "$JS.API.CONSUMER.MSG.NEXT.JOBS.job-normal"),
        ("client1", "$JS.API.CONSUMER.CREATE.JOBS.mine"),
        ("client1", "$JS.ACK.JOBS.job-normal.1.1.1.1.0"),
        ("client1", "$KV.npu_models.mine.1"),
        ("client1", "$JS.API.STREAM.CREATE.MINE"),
        ("client1", "$JS.API.STREAM.DELETE.KV_npu_models"),
        ("client1", "$JS.API.CONSUMER.CREATE.KV_npu_models"),
        ("client1", "$SYS.REQ.SERVER.PING"),
        ("agent", "npu.v1.result.a"),
        ("agent", "npu.v1.event.a"),
        ("agent", "$JS.API.CONSUMER.MSG.NEXT.JOBS.job-normal"),
        ("client1", "npu.v1.topic.a"),
        ("worker", "npu.v1.agent.x.y"),
        ("worker", CALL),
        ("worker", "npu.v1.flow.normal.chain"),
        ("client1", "npu.v1.advance.a"),
        ("worker", "npu.v1.cancel.a.1"),
        ("worker", "npu.v1.schedule.a"),
        ("worker", "$JS.API.STREAM.PURGE.RESULTS"),
        ("worker", "$JS.API.STREAM.MSG.DELETE.RESULTS"),
        ("worker", "$JS.API.CONSUMER.CREATE.JOBS.mine"),
        ("worker", "$JS.API.CONSUMER.DELETE.JOBS.job-normal"),
        ("worker", "$KV.npu_models.mine.1"),
        ("worker", "$O.npu_model_files.C.x"),
        ("worker", "$JS.API.STREAM.CREATE.KV_npu_models"),
        ("worker", "$JS.API.STREAM.DELETE.KV_npu_models"),
        ("worker", "_INBOX.a.1"),
        ("operator", CALL),
        ("operator", "npu.v1.fallback.normal.fft"),
        ("operator", "_INBOX_client1.a.1"),
        ("operator", "npu.v1.result.a"),
        ("operator", "$JS.API.STREAM.DELETE.JOBS"),
        ("operator", "$JS.API.STREAM.CREATE.MINE"),
    ],
)
async def test_may_not_publish(broker: Durable, user: str, subject: str) -> None:
    client = await broker.connect(user)
    await client.publish(subject, b"{}")
    await refused(broker, user, subject)
    await client.close()


async def answer(message: Msg) -> None:
    await message.respond(b"done by " + message.data)


async def reply_empty(message: Msg) -> None:
    await message.respond(b"")


async def introduce(message: Msg) -> None:
    await message.respond(b'{"id":"w"}')


async def test_a_worker_answers_every_client(broker: Durable) -> None:
    worker = await broker.connect("worker")
    await worker.subscribe("npu.v1.call.*.fft", queue="rust", cb=answer)
    await worker.flush()
    for user in ("client1", "client2"):
        client = await broker.connect(user)
        assert (await client.request(CALL, user.encode(), timeout=5)).data == b"done by " + user.encode()
        await client.close()
    await worker.close()
    assert not any(broker.errors.values())


async def test_a_worker_hands_over_and_the_other_engine_answers(broker: Durable) -> None:
    rust, python, client = [await broker.connect(user) for user in ("worker", "worker", "client1")]

    async def forward(message: Msg) -> None:
        await rust.publish(message.subject.replace("call", "fallback"), message.data, reply=message.reply)

    await rust.subscribe("npu.v1.call.*.fft", queue="rust", cb=forward)
    await python.subscribe("npu.v1.fallback.*.fft", queue="python", cb=answer)
    await asyncio.gather(rust.flush(), python.flush())
    assert (await client.request(CALL, b"x", timeout=5)).data == b"done by x"
    await asyncio.gather(rust.close(), python.close(), client.close())


async def test_a_caller_cannot_make_a_worker_publish_elsewhere(broker: Durable) -> None:
    async with registry(broker, "operator") as models:
        await models.add("precious", model_file(broker))
    worker, client = await broker.connect("worker"), await broker.connect("client1")
    await worker.subscribe("npu.v1.call.*.fft", queue="rust", cb=reply_empty)
    await worker.flush()
    await client.publish(CALL, b"x", reply="$JS.API.STREAM.DELETE.KV_npu_models")
    await refused(broker, "worker", "$JS.API.STREAM.DELETE.KV_npu_models")
    async with registry(broker, "operator") as models:
        assert [info.name for info in await models.list()] == ["precious"]
    await asyncio.gather(worker.close(), client.close())


async def test_operator_adds_worker_reads_client_looks(broker: Durable) -> None:
    async with registry(broker, "operator") as models:
        added = await models.add("tiny", model_file(broker))
    await read_as_a_worker(broker, added.files[0].object)
    async with registry(broker, "client1") as models:
        assert [(info.name, info.version) for info in await models.list()] == [("tiny", 1)]
        assert (await models.info("tiny")).files == added.files
    async with registry(broker, "operator") as models:
        await models.remove("tiny")
        assert await models.list() == []


async def read_as_a_worker(broker: Durable, name: str) -> None:
    worker = await broker.connect("worker")
    context = worker.jetstream()
    bucket = await context.key_value("npu_models")
    watcher = await bucket.watchall()
    entry = await watcher.updates(timeout=5)
    assert entry is not None
    assert entry.key == "tiny.1"
    await watcher.stop()
    assert (await bucket.get("tiny.1")).value
    store = await context.object_store(buckets.FILES_BUCKET)
    assert (await store.get(name)).data == ONNX
    status = await context.key_value("npu_model_status")
    await status.put("tiny.1.w", b'{"state":"ready"}')
    await status.delete("tiny.1.w")
    assert not broker.errors["worker"]
    await worker.publish("$KV.npu_models.tiny.1", b"mine")
    await refused(broker, "worker", "$KV.npu_models.tiny.1")
    await worker.close()


async def test_operator_finds_the_workers(broker: Durable) -> None:
    worker = await broker.connect("worker")
    await worker.subscribe("$SRV.>", cb=introduce)
    await worker.flush()
    for user in ("operator", "client1"):
        control = Control(options(broker, user))
        assert await control.ask_workers("PING") == [{"id": "w"}]
        await control.close()
    await worker.close()


@pytest.mark.parametrize("who", [{}, {"user": "client1", "password": "wrong"}, {"user": "nobody", "password": "x"}])
async def test_strangers_are_refused(broker: Durable, who: dict[str, str]) -> None:
    with pytest.raises(UnavailableError, match=r"(?i)authorization"):
        await connect(Client(), ConnectOptions(broker.url, tls_ca=str(broker.authority), **who))


async def test_an_unknown_certificate_is_refused(broker: Durable) -> None:
    plain = ConnectOptions(broker.url, user="client1", password=broker.passwords["client1"])
    with pytest.raises(UnavailableError, match=r"(?i)certificate"):
        await connect(Client(), plain)


class registry:  # noqa: N801 - used as a word of the test's sentence
    """The model registry as a role sees it."""

    def __init__(self, broker: Durable, user: str) -> None:
        self._control = Control(options(broker, user))

    async def __aenter__(self) -> Models:
        return Models(self._control, self._no_call)

    @staticmethod
    async def _no_call(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("the registry itself calls no model")

    async def __aexit__(self, *error: Any) -> None:
        await self._control.close()


def model_file(broker: Durable) -> Path:
    path = broker.folder / "tiny.onnx"
    path.write_bytes(ONNX)
    return path
