"""The tracer provider: service name, exporter by the environment, bounded queue, flush at exit.

`OTEL_TRACES_EXPORTER` is `otlp`, `file` or `none`; without it spans go to the collector that
`OTEL_EXPORTER_OTLP_ENDPOINT` names, or else to a file that `npufleet trace` reads.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

    from npufleet.telemetry.processor import CountingProcessor
    from npufleet.telemetry.recorder import Recorder

FLUSH_SECONDS: Final = 3.0
"""How long the end of a program may be held up to send the last spans."""

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_loader: threading.Thread | None = None
_tracers: dict[str, Tracer] = {}
_open: dict[str, tuple[TracerProvider, CountingProcessor]] = {}
_recorders: dict[str, Recorder] = {}
_failed: set[str] = set()


def tracer(service: str, *, wait: bool = True) -> Tracer | None:
    """Return the service's tracer, made at the first call.

    With `wait` false the making happens on a thread, and None is returned until it is done. None is also returned,
    and the reason logged once, when no tracer can be made.
    """
    found = _tracers.get(service)
    if found is not None:
        return found
    if wait:
        return _make(service)
    global _loader
    with _lock:
        if _loader is None:
            _loader = threading.Thread(target=_make, args=(service,), name="npufleet-telemetry", daemon=True)
            _loader.start()
    return None


def recorder(service: str, *, wait: bool = True) -> Recorder | None:
    """Return what records the service's finished spans, or None where `tracer` would return None."""
    found = _recorders.get(service)
    if found is None and tracer(service, wait=wait) is not None:
        from npufleet.telemetry.recorder import Recorder

        provider, processor = _open[service]
        found = _recorders[service] = Recorder(provider.resource, processor)
    return found


def _make(service: str) -> Tracer | None:
    from npufleet import __version__
    from npufleet.telemetry import sampling

    with _lock:
        if service in _tracers:
            return _tracers[service]
        if service in _failed or sampling.head().off:
            return None
        try:
            provider, processor = _provider(service, os.environ)
        except (ImportError, OSError, ValueError) as error:
            _failed.add(service)
            _log.warning("tracing is off: %s", error)
            return None
        if not _open:
            atexit.register(shutdown)
        _open[service] = provider, processor
        _tracers[service] = provider.get_tracer("npufleet", __version__)
        return _tracers[service]


def _provider(service: str, environ: Mapping[str, str]) -> tuple[TracerProvider, CountingProcessor]:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from npufleet.telemetry.processor import CountingProcessor

    name = environ.get("OTEL_SERVICE_NAME") or service
    resource = Resource.create({"service.name": name, "process.pid": os.getpid()})
    # Whoever asks for a span has decided already that the request is traced.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    processor = CountingProcessor(exporter(name, environ))
    provider.add_span_processor(processor)
    return provider, processor


def exporter(service: str, environ: Mapping[str, str]) -> SpanExporter:
    """Return the exporter that the environment asks for; raises ValueError for a word that is not known."""
    chosen = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not chosen:
        endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        chosen = "otlp" if any(environ.get(name) for name in endpoints) else "file"
    if chosen == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if chosen == "file":
        from npufleet.telemetry.file_exporter import FileSpanExporter

        return FileSpanExporter(trace_directory(environ), service)
    raise ValueError(f"OTEL_TRACES_EXPORTER is {chosen!r}; allowed: otlp, file, none")


def trace_directory(environ: Mapping[str, str]) -> Path:
    """Return the folder of the local trace files: `NPUFLEET_TRACE_DIR`, or a fixed place in the user's state folder."""
    if environ.get("NPUFLEET_TRACE_DIR"):
        return Path(environ["NPUFLEET_TRACE_DIR"])
    state = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "npufleet" / "traces"


def dropped_spans() -> int:
    """Return how many finished spans of this process were never exported: queue full, or the exporter failed."""
    return sum(processor.dropped for _, processor in _open.values())


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Send what is queued, for at most so long; false when it took longer or when spans were dropped on the way.

    Runs on a thread, because the exporter offers no other way to give up on a collector that hangs.
    """
    dropped = dropped_spans()
    done = _within(seconds, lambda: [provider.force_flush() for provider, _ in list(_open.values())])
    return done and dropped_spans() == dropped


def shutdown(seconds: float = FLUSH_SECONDS) -> None:
    """Send what is queued, for at most so long, and release the exporters; tracing starts afresh if used again."""
    flush(seconds)
    with _lock:
        closing = list(_open.values())
        _open.clear()
        _tracers.clear()
        _recorders.clear()
        _failed.clear()
        global _loader
        _loader = None

    def close() -> None:
        for provider, processor in closing:
            # The exporter first, so that an export that is being retried ends at once.
            processor.stop_exporting()
            provider.shutdown()

    _within(seconds, close)
    if closing:
        atexit.unregister(shutdown)


def _within(seconds: float, work: Callable[[], object]) -> bool:
    thread = threading.Thread(target=work, name="npufleet-telemetry-flush", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
