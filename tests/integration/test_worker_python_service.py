"""A Python worker seen through the NATS service protocol, held to the schemas of ADR-32."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import npufleet
from npufleet.wire import contract
from tests.support.worker_stand import PATIENCE, Broker, call, client, endpoints, worker

SCHEMAS = Path(__file__).with_name("schemas")


@pytest.fixture(scope="module")
def broker():
    with Broker() as running:
        yield running


@pytest.fixture(scope="module")
def fleet(broker):
    with worker(broker.url) as running:
        yield running


async def ask(broker, subject):
    async with client(broker.url) as plain:
        return json.loads((await plain.request(subject, timeout=PATIENCE)).data)


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
@pytest.mark.parametrize("whom", ["", ".npufleet", ".npufleet.{id}"])
async def test_answers_follow_the_schema(broker, fleet, verb, whom):
    answer = await ask(broker, f"$SRV.{verb}{whom.format(id=fleet.id)}")
    schema = json.loads((SCHEMAS / f"{verb.lower()}_response.json").read_text())
    jsonschema.validate(answer, schema, format_checker=jsonschema.FormatChecker())
    assert (answer["name"], answer["id"], answer["version"]) == ("npufleet", fleet.id, npufleet.__version__)


async def test_the_metadata_say_what_runs_where(broker, fleet):
    fleet.wait("devices")
    metadata = (await ask(broker, "$SRV.INFO"))["metadata"]
    assert metadata["engine"] == "python"
    assert metadata["pid"] == str(fleet.process.pid)
    assert metadata["contract"] == "1"
    devices = {device["name"]: device for device in json.loads(metadata["devices"])}
    assert list(devices) == ["NPU", "GPU", "CPU"]
    assert devices["CPU"]["available"]
    assert all(device["reason"] for device in devices.values() if not device["available"])


async def test_each_operation_is_an_endpoint(broker, fleet):
    listed = (await ask(broker, "$SRV.INFO"))["endpoints"]
    assert {each["name"]: (each["subject"], each["queue_group"]) for each in listed} == {
        name: (f"npu.v1.fallback.*.{name}", "python") for name in contract.OPERATIONS if name != "infer"
    }


async def test_requests_and_errors_are_counted(broker, fleet):
    async with client(broker.url) as plain:
        before = (await endpoints(plain, fleet.id))["npu.v1.fallback.*.fft"]
        await call(plain, "fft", {"x": np.ones((5, 8))})
        await call(plain, "fft", {"x": np.ones(8)}, {"axis": 7})
        after = (await endpoints(plain, fleet.id))["npu.v1.fallback.*.fft"]
    assert after["num_requests"] - before["num_requests"] == 2
    assert after["num_errors"] - before["num_errors"] == 1
    assert after["last_error"].startswith("400:parameter 'axis' is 7")
    assert after["data"]["rows"] - before["data"]["rows"] == 5
    assert after["data"]["queued"] == 0
    assert after["processing_time"] > before["processing_time"]
    assert after["average_processing_time"] > 0
