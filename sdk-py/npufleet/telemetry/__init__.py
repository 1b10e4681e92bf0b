"""Traces: one per sampled request, across the SDK and the workers.

Nothing of OpenTelemetry is imported before the first request is sampled or a worker starts.

sampling        should this call be traced? (cheap, asked for every call)
spans           the SDK's spans: `call <operation>` and its child `result`
worker          a worker's spans: `receive`, `payload.fetch`, `batch`, `execute`, `reply`
setup           the tracer provider, the exporter the environment asks for, flushing at exit
processor       queues finished spans for a thread that exports them, and counts what is dropped
file_exporter   spans in a local file, when there is no collector; `otlp_json` is how they are written there
tree            reads those files and draws one trace
"""
