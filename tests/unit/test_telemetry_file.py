"""The file exporter, held to OpenTelemetry's own encoder, and its care with files."""

from __future__ import annotations

import json
import math
import os

import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from npufleet.result import Result
from npufleet.telemetry import file_exporter, otlp_json, setup
from npufleet.telemetry.file_exporter import FileSpanExporter
from npufleet.telemetry.otlp_json import encode
from npufleet.telemetry.spans import CallSpan


@pytest.fixture
def spans():
    """A root with everything that a span can have, and a plain child."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "s", "n": 1}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("scope", "1.2")
    link = SpanContext(1 << 100, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "b")]))
    with tracer.start_as_current_span("root", kind=SpanKind.PRODUCER, links=[Link(link, {"why": "batch"})]) as root:
        root.set_attributes(
            {"t": "ä", "i": -(2**40), "f": 0.1, "b": True, "l": [1, 2], "s": ["x"], "inf": math.inf, "e": ""}
        )
        root.add_event("event", {"k": 1})
        root.set_status(Status(StatusCode.ERROR, "wrong"))
        with tracer.start_as_current_span("child"):
            pass
    provider.shutdown()
    return kept.get_finished_spans()


def test_a_line_means_what_opentelemetrys_own_encoder_says(spans):
    written = json.loads(encode(spans))
    # Protobuf's JSON has ids in base64, OTLP's has them in hex: the only difference between the two.
    parsed = json_format.ParseDict(_with_base64_ids(written), TracesData())
    expected = TracesData(resource_spans=encode_spans(spans).resource_spans)
    assert json_format.MessageToDict(parsed) == json_format.MessageToDict(expected)


def test_the_specifications_spelling(spans):
    (resource,) = json.loads(encode(spans))["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    child, root = scope["spans"]
    assert len(root["traceId"]) == 32
    assert len(root["spanId"]) == 16
    assert child["parentSpanId"] == root["spanId"]
    assert isinstance(root["startTimeUnixNano"], str)
    assert (root["kind"], root["status"]["code"]) == (4, 2)


@pytest.mark.parametrize("parent", [None, SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1))])
def test_calls_that_are_alike_share_a_text(tmp_path, monkeypatch, parent):
    monkeypatch.setenv("NPUFLEET_TRACE_DIR", str(tmp_path))
    recorder = setup.recorder("test")
    assert recorder is not None
    for device in ("CPU", "100 % of it", "CPU"):
        span = CallSpan(recorder, "echo", "npu.v1.call.normal.echo", "normal", parent)
        span.decode(Result(Reply()))
        span.end(None, None, "rust", device, "inline")
        (child, call), (other_child, same_call) = json.loads(f"[{span.text()}]"), span.spans()
        assert call == json.loads(otlp_json.spans([same_call]))
        # A child's own id is drawn when it is made.
        assert child | {"spanId": ""} == json.loads(otlp_json.spans([other_child])) | {"spanId": ""}
        assert (child["traceId"], child["parentSpanId"]) == (span.trace_id, call["spanId"])


class Reply:
    """A reply without tensors."""

    payload = b""

    def tensors(self):
        return {}

    def header(self, name):
        return None


def test_files_are_private_and_rotate(tmp_path, spans):
    exporter = FileSpanExporter(tmp_path / "a" / "b", "service/with slash", rotate_bytes=5000)
    for _ in range(6):
        assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    files = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    stem = f"service_with_slash-{os.getpid()}"
    assert files == [f"{stem}.1.jsonl", f"{stem}.jsonl"]
    assert all(path.stat().st_size <= 5000 for path in (tmp_path / "a" / "b").iterdir())
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "b").iterdir()} == {0o600}


def test_a_link_in_the_way_is_not_followed(tmp_path, spans):
    target = tmp_path / "target"
    target.write_text("")
    exporter = FileSpanExporter(tmp_path, "s")
    exporter.path.symlink_to(target)
    assert exporter.export(spans) is SpanExportResult.FAILURE
    assert target.read_text() == ""


def test_old_files_of_ended_processes_are_removed(tmp_path, monkeypatch, spans):
    monkeypatch.setattr(file_exporter, "KEEP_FILES", 2)
    for age in range(4):
        path = tmp_path / f"s-99999999{age}.jsonl"
        path.write_text("{}\n")
        os.utime(path, (1000 - age, 1000 - age))
    alive = tmp_path / f"s-{os.getpid()}.jsonl"
    alive.write_text("")
    os.utime(alive, (1, 1))
    FileSpanExporter(tmp_path, "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["s-999999990.jsonl", "s-999999991.jsonl", alive.name]
    )


def _with_base64_ids(value):
    from base64 import b64encode

    if isinstance(value, list):
        return [_with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {k: b64encode(bytes.fromhex(v)).decode() if k in ids else _with_base64_ids(v) for k, v in value.items()}
