"""The provider: exporter by the environment, bounded queue, drops counted, nothing held up by a dead collector."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from npufleet.telemetry import sampling, setup
from npufleet.telemetry.processor import CountingProcessor
from npufleet.telemetry.spans import start_call
from tests.support.otlp_receiver import OtlpReceiver


class Held(SpanExporter):
    """Exports nothing until released."""

    def __init__(self):
        self.release = threading.Event()
        self.exported = 0

    def export(self, spans):
        self.release.wait()
        self.exported += len(spans)
        return SpanExportResult.SUCCESS


class Broken(SpanExporter):
    def export(self, spans):
        raise RuntimeError("no")


@pytest.fixture(autouse=True)
def afresh(monkeypatch, tmp_path):
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NPUFLEET_TRACE_DIR", str(tmp_path))
    setup.shutdown()
    sampling.reload()
    yield
    setup.shutdown()
    sampling.reload()


def finish(provider, count):
    tracer = provider.get_tracer("t")
    for _ in range(count):
        tracer.start_span("s").end()


def test_a_full_queue_drops_and_counts(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    exporter = Held()
    processor = CountingProcessor(exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    finish(provider, 25)
    assert processor.dropped == 15
    exporter.release.set()
    provider.force_flush()
    assert exporter.exported == 10
    finish(provider, 5)
    provider.force_flush()
    assert (exporter.exported, processor.dropped) == (15, 15)
    provider.shutdown()


def test_an_exporter_that_fails_is_counted(caplog):
    processor = CountingProcessor(Broken())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    finish(provider, 3)
    provider.shutdown()
    assert processor.dropped == 3
    assert "could not be exported" in caplog.text


def test_a_queue_size_that_is_none_is_said(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    CountingProcessor(Broken()).shutdown()
    assert "OTEL_BSP_MAX_QUEUE_SIZE" in caplog.text


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, "FileSpanExporter"),
        ({"OTEL_TRACES_EXPORTER": "file", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"}, "FileSpanExporter"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"}, "OTLPSpanExporter"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:1"}, "OTLPSpanExporter"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTLPSpanExporter"),
    ],
)
def test_the_environment_chooses_the_exporter(variables, kind, tmp_path):
    exporter = setup.exporter("s", {"NPUFLEET_TRACE_DIR": str(tmp_path), **variables})
    assert type(exporter).__name__ == kind
    exporter.shutdown()


def test_an_unknown_exporter_turns_tracing_off_and_says_so(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    for _ in range(3):
        assert start_call("echo", "s", "normal") is None
    assert caplog.text.count("zipkin") == 1


def test_a_folder_that_cannot_be_made_turns_tracing_off_and_says_so(monkeypatch, caplog, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NPUFLEET_TRACE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    assert start_call("echo", "s", "normal") is None
    assert "tracing is off" in caplog.text


def test_where_the_files_are():
    assert setup.trace_directory({"NPUFLEET_TRACE_DIR": "/a"}) == Path("/a")
    assert setup.trace_directory({"XDG_STATE_HOME": "/b"}) == Path("/b/npufleet/traces")
    assert setup.trace_directory({}) == Path("~/.local/state/npufleet/traces").expanduser()


def test_the_service_name_can_be_changed(monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    start_call("echo", "s", "normal").end()
    assert setup.flush()
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("mine-")


def test_a_sampled_call_of_many_is_not_held_up_by_the_first_import(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.999999")
    opened = threading.Event()
    made = setup._make

    def slowly(service):
        opened.wait()
        return made(service)

    monkeypatch.setattr(setup, "_make", slowly)
    assert start_call("echo", "s", "normal") is None
    assert start_call("echo", "s", "normal") is None
    opened.set()
    setup._loader.join(30)
    span = start_call("echo", "s", "normal")
    assert span is not None
    assert span.headers["traceparent"].startswith(f"00-{span.trace_id}-")
    span.end()


def test_a_collector_that_hangs_holds_nobody_up(monkeypatch):
    with OtlpReceiver(answering=False) as receiver:
        for name, value in {**receiver.environment, "OTEL_TRACES_SAMPLER": "always_on"}.items():
            monkeypatch.setenv(name, value)
        started = time.monotonic()
        for _ in range(5):
            start_call("echo", "s", "normal").end()
        assert setup.flush(0.2) is False
        setup.shutdown(0.2)
        assert time.monotonic() - started < 5
