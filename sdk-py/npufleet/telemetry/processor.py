"""A batch span processor that never blocks work and counts what it had to drop."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final, Protocol, cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from npufleet.telemetry.file_exporter import FileSpanExporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext

QUEUE_LIMIT: Final = 2048
DELAY_MILLISECONDS: Final = 500

_log = logging.getLogger(__name__)


class Deferred(Protocol):
    """One or more finished spans that are made when they are exported."""

    @property
    def context(self) -> SpanContext:
        """Any identity that is sampled."""
        ...

    @property
    def resource(self) -> Resource:
        """Whose spans they are."""
        ...

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """What made them."""
        ...

    def spans(self) -> list[ReadableSpan]:
        """Return the spans."""
        ...

    def text(self) -> str:
        """Return the spans as OTLP/JSON, with commas between them."""
        ...


class CountingExporter(SpanExporter):
    """Passes batches on; `handed` counts what was given to it, `failed` the spans that the exporter did not accept."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._stopped = False
        self.handed = 0
        self.failed = 0

    def export(self, batch: Sequence[ReadableSpan | Deferred]) -> SpanExportResult:
        """Export one batch; an exporter that raises has failed, and says so in the log."""
        result = SpanExportResult.FAILURE
        try:
            if not self._stopped:
                result = (
                    self._inner.export(batch)
                    if isinstance(self._inner, FileSpanExporter)
                    else self._inner.export([span for each in batch for span in _spans(each)])
                )
        except Exception:  # noqa: BLE001 - whatever an exporter raises, the spans are lost and work goes on
            _log.exception("spans could not be exported")
        self.handed += len(batch)
        if result is not SpanExportResult.SUCCESS:
            self.failed += sum(len(_spans(each)) for each in batch)
        return result

    def shutdown(self) -> None:
        """Close the exporter, once; an export in progress gives up."""
        if not self._stopped:
            self._stopped = True
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the exporter write out what it buffers itself."""
        return self._inner.force_flush(timeout_millis)


class CountingProcessor(BatchSpanProcessor):
    """Queues finished spans for a thread that exports them; beyond the queue's limit they are dropped and counted.

    The limit is OTEL_BSP_MAX_QUEUE_SIZE or 2048. They are exported every half second unless OTEL_BSP_SCHEDULE_DELAY
    says otherwise: whoever asks for the trace of the last request does not like to wait.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = CountingExporter(exporter)
        self._limit = _queue_limit()
        self._counter = threading.Lock()
        self._accepted = 0
        self._refused = 0
        # One more than ours, so that ours is the limit that acts and every drop is seen here.
        super().__init__(
            self._exporter,
            max_queue_size=self._limit + 1,
            schedule_delay_millis=None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else DELAY_MILLISECONDS,
            max_export_batch_size=min(512, self._limit),
        )

    @property
    def dropped(self) -> int:
        """Spans that were refused by the full queue or by the exporter."""
        return self._refused + self._exporter.failed

    def on_end(self, span: ReadableSpan | Deferred) -> None:
        """Queue one finished span, or several in one, or count them as dropped."""
        with self._counter:
            if self._accepted - self._exporter.handed >= self._limit:
                self._refused += len(_spans(span))
                return
            self._accepted += 1
        # The queue does not look at what it holds, and the exporter at its end is ours.
        super().on_end(cast("ReadableSpan", span))

    def stop_exporting(self) -> None:
        """Make exports fail from now on, so that shutting down does not wait for a collector that hangs."""
        self._exporter.shutdown()


def _spans(ended: ReadableSpan | Deferred) -> list[ReadableSpan]:
    return [ended] if isinstance(ended, ReadableSpan) else ended.spans()


def _queue_limit() -> int:
    text = os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text:
        _log.warning("OTEL_BSP_MAX_QUEUE_SIZE is %r; allowed: integers above 0; using %d", text, QUEUE_LIMIT)
    return QUEUE_LIMIT
