"""One trace per sampled request across the SDK and the workers, as a collector sees it."""

from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from npufleet import AsyncFleet, UnknownModelError
from npufleet._engine import native_or_none
from npufleet.telemetry import sampling, setup
from npufleet.wire import frame
from tests.conftest import rust_worker_missing
from tests.support.model_stand import linear, register
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.worker_stand import PATIENCE, Broker, call, client, deadline, kind, subject, worker

WORKER_SPANS = ("receive", "payload.fetch", "batch", "execute", "reply")
PYTHON = "npufleet-worker-python"


@pytest.fixture(scope="module")
def broker():
    with Broker() as running:
        yield running


@pytest.fixture(scope="module")
def receiver():
    with OtlpReceiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def fleet(broker, receiver):
    with worker(broker.url, "--executors", "1", **receiver.environment) as running:
        yield running


@pytest.fixture
def sdk_environment(monkeypatch, receiver):
    """Let the SDK in this process trace, with the variables that a test sets."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)

    def use(**variables):
        setup.shutdown()
        for name, value in {**receiver.environment, **variables}.items():
            monkeypatch.setenv(name, value)
        sampling.reload()

    yield use
    setup.shutdown()
    monkeypatch.undo()
    sampling.reload()


def traceparent(number: int, *, sampled: bool = True) -> dict[str, str]:
    return {"traceparent": f"00-{number:032x}-{number:016x}-{int(sampled):02x}"}


async def test_one_call_is_one_trace(broker, fleet, receiver, sdk_environment):
    sdk_environment(OTEL_TRACES_SAMPLER="always_on")
    async with AsyncFleet.connect(broker.url) as sdk:
        result = await sdk.call("fft", np.ones(64))
    spans = receiver.wait_names(result.trace_id, "call fft", "result", *WORKER_SPANS)
    root = spans.pop("call fft")
    assert (root.service, root.parent) == ("npufleet-sdk", "")
    assert root.kind == 4  # producer
    assert root.attributes["messaging.system"] == "nats"
    assert root.attributes["messaging.destination.name"] == "npu.v1.call.normal.fft"
    assert root.attributes["npufleet.operation"] == "fft"
    assert root.attributes["npufleet.lane"] == "normal"
    assert root.attributes["npufleet.fallback.reason"].startswith("no_responders")
    assert root.attributes["npufleet.engine"] == "python"
    assert {span.parent for span in spans.values()} == {root.id}
    assert {name: span.service for name, span in spans.items()} == {
        **dict.fromkeys(WORKER_SPANS, PYTHON),
        "result": "npufleet-sdk",
    }
    assert spans["receive"].attributes["npufleet.fallback.reason"].startswith("no_responders")
    assert spans["payload.fetch"].attributes["npufleet.payload.placement"] == "inline"
    assert spans["payload.fetch"].attributes["npufleet.payload.bytes"] == len(frame.encode({"x": np.ones(64)}))
    assert spans["batch"].attributes["npufleet.batch.members"] == 1
    assert spans["execute"].attributes["npufleet.engine"] == "python"
    assert spans["execute"].attributes["npufleet.device"] == "CPU"
    assert spans["execute"].attributes["npufleet.rows"] == 1
    order = ["receive", "batch", "execute", "reply"]
    assert [spans[name].start for name in order] == sorted(spans[name].start for name in order)
    assert all(root.start <= span.start <= span.end <= root.end for span in spans.values())


@pytest.mark.parametrize("way", ["arena", "zeromq"])
@pytest.mark.parametrize("engine", ["python", "rust"])
async def test_the_way_of_a_large_frame_is_in_the_trace(
    receiver, sdk_environment, engine, way, tmp_path, tmp_path_factory, monkeypatch
):
    if engine == "rust" and (why := rust_worker_missing()):
        pytest.skip(why)
    sdk_environment(OTEL_TRACES_SAMPLER="always_on")
    monkeypatch.setenv("NPUFLEET_ARENA_DIR", str(tmp_path))
    seen = {"NPUFLEET_ARENA_DIR": str(tmp_path if way == "arena" else tmp_path_factory.mktemp("there"))}
    options = ["--primary"] if engine == "python" else []
    with Broker() as broker, worker(broker.url, *options, engine=engine, **receiver.environment, **seen):
        async with AsyncFleet.connect(broker.url, transport="pure") as sdk:
            result = await sdk.call("echo", np.zeros(40_000))
        spans = receiver.wait_names(result.trace_id, "call echo", *WORKER_SPANS)
    ways = {
        name: spans[name].attributes["npufleet.payload.placement"] for name in ("call echo", "payload.fetch", "reply")
    }
    assert ways == {"call echo": "arena", "payload.fetch": way, "reply": way}
    assert spans["payload.fetch"].attributes["npufleet.payload.bytes"] > 80_000


async def test_a_failed_call_is_a_failed_span_in_both_processes(broker, fleet, receiver, sdk_environment):
    sdk_environment(OTEL_TRACES_SAMPLER="always_on")
    async with AsyncFleet.connect(broker.url) as sdk, client(broker.url) as plain:
        with pytest.raises(UnknownModelError):
            await sdk.infer("no-such-model-here", {"x": np.ones((1, 4))})
        await call(plain, "fft", {"x": np.ones(4, np.int8)}, headers=traceparent(0xBAD))
    spans = receiver.wait_names(f"{0xBAD:032x}", "receive", "payload.fetch", "reply")
    assert spans["reply"].failed
    assert spans["reply"].attributes["error.type"] == "invalid_shape"
    failed = receiver.wait(lambda all_spans: any(s.name == "call infer" for s in all_spans))
    assert [s.attributes["error.type"] for s in failed if s.name == "call infer"] == ["unknown_model"]


async def test_members_of_a_batch_are_linked(broker, fleet, receiver):
    async with client(broker.url) as plain:
        await register(plain, "linked", 1, linear(1.0))
        await asyncio.to_thread(fleet.wait, "model", name="linked", state="ready")
        inbox = plain.new_inbox()
        answers = await plain.subscribe(inbox)
        busy = frame.encode({"x": np.ones(1)}, {"delay": 0.5})
        await plain.publish(subject("echo"), busy, reply=inbox)
        numbers = [0xA1, 0xA2, 0xA3]
        payload = frame.encode({"x": np.ones((2, 4), np.float32)})
        for number in numbers:
            await plain.publish(subject("infer.linked"), payload, reply=inbox, headers=traceparent(number))
        for _ in range(4):
            assert kind(await answers.next_msg(timeout=PATIENCE)) is None
    for number in numbers:
        spans = receiver.wait_names(f"{number:032x}", *WORKER_SPANS)
        batch = spans["batch"]
        assert batch.attributes["npufleet.batch.members"] == 3
        assert batch.attributes["npufleet.batch.rows"] == 6
        assert set(batch.links) == {(f"{n:032x}", f"{n:016x}") for n in numbers if n != number}
        assert spans["execute"].attributes["npufleet.model"] == "linked"
        assert spans["execute"].attributes["npufleet.rows"] == 2


@pytest.mark.parametrize(
    "headers",
    [
        {},
        traceparent(0xC0, sampled=False),
        {"traceparent": "00-short-01"},
        {"traceparent": f"00-{0:032x}-{1:016x}-01"},
        {"traceparent": f"ff-{0xC1:032x}-{1:016x}-01"},
    ],
    ids=["none", "unsampled", "malformed", "zero", "version"],
)
async def test_what_is_not_sampled_leaves_nothing(broker, fleet, receiver, headers):
    async with client(broker.url) as plain:
        await call(plain, "echo", {"x": np.ones(1)}, headers=headers)
        marker = 0xD000 + len(receiver.spans)
        await call(plain, "echo", {"x": np.ones(1)}, headers=traceparent(marker))
    receiver.wait_names(f"{marker:032x}", *WORKER_SPANS)
    # The worker exports in the order of its answers: anything of the first request would be here.
    assert not [span for span in receiver.spans if span.trace_id in (f"{0xC0:032x}", f"{0xC1:032x}", f"{0:032x}")]
    assert {span.parent for span in receiver.spans if span.service == PYTHON} <= {
        *(span.id for span in receiver.spans if span.name.startswith("call ")),
        *(f"{int(span.trace_id, 16) & 0xFFFFFFFFFFFFFFFF:016x}" for span in receiver.spans),
    }


@pytest.mark.parametrize("sampled", [True, False])
async def test_the_callers_own_span_decides(broker, fleet, receiver, sdk_environment, sampled):
    # The share of traced calls is the opposite of what the caller's span says.
    sdk_environment(OTEL_TRACES_SAMPLER="parentbased_always_off" if sampled else "parentbased_always_on")
    own = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False).get_tracer("program")
    async with AsyncFleet.connect(broker.url) as sdk:
        with own.start_as_current_span("the program's work") as span:
            result = await sdk.call("echo", {"x": np.ones(1)})
        outside = await sdk.call("echo", {"x": np.ones(1)})
    context = span.get_span_context()
    assert (outside.trace_id is None) == sampled
    if not sampled:
        assert result.trace_id is None
        return
    assert result.trace_id == trace.format_trace_id(context.trace_id)
    spans = receiver.wait_names(result.trace_id, "call echo", *WORKER_SPANS)
    assert spans["call echo"].parent == trace.format_span_id(context.span_id)
    assert spans["execute"].parent == spans["call echo"].id


async def test_a_disabled_sdk_traces_nothing(broker, fleet, receiver, sdk_environment):
    sdk_environment(OTEL_TRACES_SAMPLER="always_on", OTEL_SDK_DISABLED="true")
    async with AsyncFleet.connect(broker.url) as sdk:
        assert (await sdk.call("echo", {"x": np.ones(1)})).trace_id is None


async def test_an_expired_request_is_traced_as_far_as_it_came(broker, fleet, receiver):
    async with client(broker.url) as plain:
        payload = frame.encode({"x": np.ones(1)}, {"delay": 10.0})
        headers = {**deadline(0.3), **traceparent(0xE0)}
        assert kind(await call(plain, "echo", payload, headers=headers)) == "deadline_exceeded"
    spans = receiver.wait_names(f"{0xE0:032x}", *WORKER_SPANS)
    assert spans["execute"].failed
    assert spans["execute"].attributes["error.type"] == "deadline_exceeded"


@pytest.mark.skipif(
    not hasattr(native_or_none(), "run_worker"), reason="no compiled extension with a worker: nothing hands over"
)
async def test_a_hand_over_is_in_the_trace(receiver, sdk_environment):
    sdk_environment(OTEL_TRACES_SAMPLER="always_on")
    with (
        Broker() as own,
        worker(own.url, engine="rust", **receiver.environment),
        worker(own.url, **receiver.environment),
    ):
        async with AsyncFleet.connect(own.url) as sdk:
            by_rust = await sdk.call("fft", np.ones(8))
            handed_over = await sdk.call("fft", np.ones(8, np.float16))
        assert (by_rust.engine, handed_over.engine) == ("rust", "python")
        spans = receiver.wait_names(by_rust.trace_id, "call fft", "result", *WORKER_SPANS)
        assert {spans[name].service for name in WORKER_SPANS} == {"npufleet-worker-rust"}
        assert {spans[name].parent for name in WORKER_SPANS} == {spans["call fft"].id}

        def both(all_spans):
            mine = {(span.service, span.name) for span in all_spans if span.trace_id == handed_over.trace_id}
            return {(PYTHON, "reply"), ("npufleet-worker-rust", "forward"), ("npufleet-sdk", "call fft")} <= mine

        mine = [span for span in receiver.wait(both) if span.trace_id == handed_over.trace_id]
        forward = next(span for span in mine if span.name == "forward")
        assert forward.attributes["npufleet.fallback.reason"].startswith("unsupported")
        received = next(span for span in mine if (span.service, span.name) == (PYTHON, "receive"))
        assert received.attributes["npufleet.fallback.reason"].startswith("unsupported")
