"""An OTLP/HTTP collector of a few lines: keeps the spans that it is sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class ReceivedSpan:
    trace_id: str
    id: str
    parent: str
    service: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    failed: bool


class OtlpReceiver:
    """Listens on a free port; `answering` false makes it accept connections and never answer."""

    def __init__(self, *, answering: bool = True) -> None:
        self.spans: list[ReceivedSpan] = []
        self._news = threading.Condition()
        self._release = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not answering:
                    receiver._release.wait()
                    return
                receiver._keep(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def environment(self) -> dict[str, str]:
        """What sends a process's spans here, soon."""
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def wait(self, condition: Callable[[list[ReceivedSpan]], bool], seconds: float = 20.0) -> list[ReceivedSpan]:
        """Return all spans once they fulfil the condition."""
        with self._news:
            done = self._news.wait_for(lambda: condition(self.spans), seconds)
        assert done, f"spans so far: {[(span.service, span.name) for span in self.spans]}"
        return list(self.spans)

    def wait_names(self, trace_id: str, *names: str) -> dict[str, ReceivedSpan]:
        """Return a trace's spans by name once it has these."""

        def complete(spans: list[ReceivedSpan]) -> bool:
            return {span.name for span in spans if span.trace_id == trace_id} >= set(names)

        return {span.name: span for span in self.wait(complete) if span.trace_id == trace_id}

    def _keep(self, request: ExportTraceServiceRequest) -> None:
        with self._news:
            for resource in request.resource_spans:
                service = _attributes(resource.resource.attributes)["service.name"]
                for scope in resource.scope_spans:
                    self.spans += [_received(service, span) for span in scope.spans]
            self._news.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _received(service: str, span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        service=service,
        name=span.name,
        kind=span.kind,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        failed=span.status.code == 2,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
