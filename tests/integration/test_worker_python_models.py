"""Models on a Python worker: registered, served, batched, replaced, removed, failing without harm to others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import nats.errors
import numpy as np
import pytest

from npufleet.wire import frame
from tests.support.model_stand import linear, register, remove, statuses
from tests.support.worker_stand import PATIENCE, Broker, arrays, call, client, endpoints, kind, subject, worker


@pytest.fixture(scope="module")
def broker():
    with Broker() as running:
        yield running


@pytest.fixture(scope="module")
def fleet(broker):
    with worker(broker.url, "--executors", "1") as running:
        yield running


@pytest.fixture
async def plain(broker, fleet):
    async with client(broker.url) as connected:
        yield connected


async def ready(fleet, name, version=1, state="ready", after=0):
    return await asyncio.to_thread(fleet.wait, "model", PATIENCE, after, name=name, version=version, state=state)


async def infer(plain, model, x, params=None):
    return await call(plain, f"infer.{model}", {"x": np.asarray(x, np.float32)}, params)


async def test_a_registered_model_is_served_and_says_so(plain, fleet):
    await register(plain, "double", 1, linear(2.0))
    event = await ready(fleet, "double")
    assert event["device"] == "CPU"
    reply = await infer(plain, "double", np.ones((3, 4)))
    np.testing.assert_array_equal(arrays(reply)["y"], np.full((3, 2), 8.0))
    assert reply.headers["Npu-Device"] == "CPU"
    said = (await statuses(plain))[f"double.1.{fleet.id}"]
    assert (said["state"], said["engine"], said["device"], said["error"]) == ("ready", "python", "CPU", None)
    assert said["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 4]}]
    assert said["outputs"] == [{"name": "y", "dtype": "float32", "shape": [None, 2]}]
    assert said["load_ms"] > 0
    assert "npu.v1.fallback.*.infer.double" in await endpoints(plain, fleet.id)


async def test_a_real_onnx_model_is_served(plain, fleet):
    magika = pytest.importorskip("magika")
    path = next(Path(magika.__file__).parent.rglob("model.onnx"))
    await register(plain, "magika", 1, {"model.onnx": path.read_bytes()})
    await ready(fleet, "magika")
    reply = await call(plain, "infer.magika", {"bytes": np.zeros((2, 2048), np.int32)})
    labels = arrays(reply)["target_label"]
    assert labels.shape == (2, 214)
    np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=1e-4)


async def test_compatible_requests_share_one_inference(plain, fleet):
    await register(plain, "batched", 1, linear(1.0), max_batch=8)
    await ready(fleet, "batched")
    inbox = plain.new_inbox()
    answers = await plain.subscribe(f"{inbox}.*")
    # The only executor is busy meanwhile, so that all of them wait together.
    await plain.publish(subject("echo"), frame.encode({"x": np.ones(1)}, {"delay": 0.5}), reply=f"{inbox}.99")
    sizes = [1, 2, 1, 3, 1, 5, 2, 1]
    for tag, rows in enumerate(sizes):
        x = np.full((rows, 4), tag, np.float32)
        await plain.publish(subject("infer.batched"), frame.encode({"x": x}), reply=f"{inbox}.{tag}")
    got = {}
    for _ in range(len(sizes) + 1):
        reply = await answers.next_msg(timeout=PATIENCE)
        got[int(reply.subject.rpartition(".")[2])] = arrays(reply)
    for tag, rows in enumerate(sizes):
        np.testing.assert_array_equal(got[tag]["y"], np.full((rows, 2), 4.0 * tag))
    counted = (await endpoints(plain, fleet.id))["npu.v1.fallback.*.infer.batched"]["data"]
    assert counted["rows"] == sum(sizes) == 16
    assert counted["batches"] < len(sizes)


@pytest.mark.parametrize(
    ("x", "params", "expected", "words"),
    [
        (np.ones((2, 5), np.float32), {}, "invalid_shape", "[1 to 8, 4]"),
        (np.ones((9, 4), np.float32), {}, "invalid_shape", "[1 to 8, 4]"),
        (np.ones((0, 4), np.float32), {}, "invalid_shape", "[1 to 8, 4]"),
        (np.ones(4, np.float32), {}, "invalid_shape", "[1 to 8, 4]"),
        (np.ones((1, 4)), {}, "invalid_shape", "allowed: float32"),
        (np.ones((1, 4), np.float32), {"version": 2}, "unknown_model", "version 2"),
        (np.ones((1, 4), np.float32), {"foo": 2}, "invalid_parameter", "foo"),
    ],
)
async def test_a_request_that_does_not_fit_is_refused(plain, fleet, x, params, expected, words):
    if "picky" not in {event.get("name") for event in fleet.events}:
        await register(plain, "picky", 1, linear(1.0))
        await ready(fleet, "picky")
    reply = await call(plain, "infer.picky", {"x": x}, params)
    assert kind(reply) == expected
    assert words in reply.headers["Nats-Service-Error"]


async def test_a_model_with_fixed_rows_takes_exactly_those(plain, fleet):
    await register(plain, "three", 1, linear(1.0, rows=3), max_batch=3)
    await ready(fleet, "three")
    assert arrays(await infer(plain, "three", np.ones((3, 4))))["y"].shape == (3, 2)
    assert kind(await infer(plain, "three", np.ones((2, 4)))) == "invalid_shape"


async def test_a_new_version_replaces_the_old_without_a_gap(plain, fleet):
    await register(plain, "swapped", 1, linear(1.0))
    await ready(fleet, "swapped", 1)
    stop = asyncio.Event()
    values = []

    async def keep_asking():
        while not stop.is_set():
            values.append(float(arrays(await infer(plain, "swapped", np.ones((1, 4))))["y"][0, 0]))

    asking = asyncio.create_task(keep_asking())
    await register(plain, "swapped", 2, linear(10.0))
    await ready(fleet, "swapped", 2)
    stop.set()
    await asking
    values.append(float(arrays(await infer(plain, "swapped", np.ones((1, 4))))["y"][0, 0]))
    assert set(values) == {4.0, 40.0}
    assert values == sorted(values)
    assert kind(await infer(plain, "swapped", np.ones((1, 4)), {"version": 1})) == "unknown_model"
    said = await statuses(plain)
    assert f"swapped.2.{fleet.id}" in said
    assert f"swapped.1.{fleet.id}" not in said


async def test_a_removed_model_is_withdrawn(plain, fleet):
    await register(plain, "brief", 1, linear(1.0))
    await ready(fleet, "brief")
    await remove(plain, "brief", 1)
    await ready(fleet, "brief", state="removed")
    with pytest.raises(nats.errors.NoRespondersError):
        await infer(plain, "brief", np.ones((1, 4)))
    assert f"brief.1.{fleet.id}" not in await statuses(plain)


async def test_the_version_below_is_served_when_the_highest_is_removed(plain, fleet):
    await register(plain, "stepped", 1, linear(1.0))
    await ready(fleet, "stepped", 1)
    await register(plain, "stepped", 2, linear(2.0))
    await ready(fleet, "stepped", 2)
    seen = len(fleet.events)
    await remove(plain, "stepped", 2)
    await ready(fleet, "stepped", 1, after=seen)
    assert arrays(await infer(plain, "stepped", np.ones((1, 4))))["y"][0, 0] == 4.0


WRONG = {
    "garbage": ({"model.onnx": b"no model"}, {}, "does not load"),
    "absent-device": (None, {"devices": ["NPU"]}, "no device"),
    "changed": (None, {"files": "sha256"}, "sha256"),
    "shorter": (None, {"files": "size"}, "bytes"),
    "gone": (None, {"files": "object"}, "lacks a file"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_model_that_does_not_load_is_reported_and_harms_nothing(plain, fleet, name):
    files, changes, words = WRONG[name]
    files = files or linear(1.0)
    spoiled = changes.get("files")
    if isinstance(spoiled, str):
        await register(plain, "template", 1, files)
        bucket = await plain.jetstream().key_value("npu_models")
        entry = json.loads((await bucket.get("template.1")).value)
        entry["files"][0][spoiled] = {"sha256": "0" * 64, "size": 1, "object": "nowhere"}[spoiled]
        changes = {"files": entry["files"]}
    await register(plain, name, 1, files, **changes)
    failed = await ready(fleet, name, state="failed")
    assert words in failed["error"]
    assert (await statuses(plain))[f"{name}.1.{fleet.id}"]["error"] == failed["error"]
    with pytest.raises(nats.errors.NoRespondersError):
        await infer(plain, name, np.ones((1, 4)))
    assert kind(await call(plain, "echo", {"x": np.ones(1)})) is None


async def test_a_version_that_does_not_load_leaves_the_old_one_serving(plain, fleet):
    await register(plain, "steady", 1, linear(1.0))
    await ready(fleet, "steady")
    await register(plain, "steady", 2, {"model.onnx": b"no model"})
    await ready(fleet, "steady", 2, state="failed")
    assert arrays(await infer(plain, "steady", np.ones((1, 4))))["y"][0, 0] == 4.0
    said = await statuses(plain)
    assert (said[f"steady.1.{fleet.id}"]["state"], said[f"steady.2.{fleet.id}"]["state"]) == ("ready", "failed")


@pytest.mark.parametrize(
    "changes", [{"name": "../x"}, {"files": []}, {"format": "pickle"}, {"max_batch": 0}, {"files": [{"name": "../a"}]}]
)
async def test_an_entry_that_is_none_is_ignored(plain, fleet, changes):
    await register(plain, "bad", 1, linear(1.0), **changes)
    bucket = await plain.jetstream().key_value("npu_models")
    await bucket.put("worse.1", b"{")
    await bucket.put("worst", b"{}")
    seen = len(fleet.events)
    await register(plain, "good-after-bad", 1, linear(1.0), added=str(changes))
    await ready(fleet, "good-after-bad", after=seen)
    assert not [event for event in fleet.events if event.get("name") in ("bad", "worse", "worst", "../x")]


async def test_models_come_back_with_the_broker():
    with Broker() as broker, worker(broker.url) as running:
        async with client(broker.url) as plain:
            await register(plain, "kept", 1, linear(1.0))
            await ready(running, "kept")
        broker.kill()
        running.wait("broker", state="disconnected")
        seen = len(running.events)
        broker.start()
        running.wait("broker", state="connected", after=seen)
        async with client(broker.url) as plain:
            np.testing.assert_array_equal(arrays(await infer(plain, "kept", np.ones((1, 4))))["y"], [[4.0, 4.0]])
            # The registry is followed again: what is added now is served.
            await register(plain, "later", 1, linear(2.0))
            await ready(running, "later")


async def test_a_worker_takes_its_words_back_when_it_ends(broker):
    with worker(broker.url) as second:
        async with client(broker.url) as plain:
            await register(plain, "shared", 1, linear(1.0))
            await ready(second, "shared")
            assert f"shared.1.{second.id}" in await statuses(plain)
            assert await asyncio.to_thread(second.terminate) == 0
            assert not [key for key in await statuses(plain) if key.endswith(second.id)]


async def test_without_jetstream_everything_else_works():
    with Broker("jetstream: disabled") as broker, worker(broker.url) as running:
        async with client(broker.url) as plain:
            assert kind(await call(plain, "echo", {"x": np.ones(1)})) is None
        running.terminate()
        assert "no model registry: the broker has no JetStream" in running.log()
