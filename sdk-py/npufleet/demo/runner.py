"""The demo's four steps in order: heart rate, file types, a killed worker, a trace."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from npufleet.demo import file_types, heart_rate
from npufleet.demo.report import Report
from npufleet.errors import FleetError, UnavailableError

CALLS_AROUND_THE_KILL = 40
FILES = 48
MAX_BATCH = 16
CRASH_TIMEOUT_S = 2.0  # a call that the killed worker had taken is asked of Python after half of this
TRACE_TIMEOUT_S = 10.0


@dataclass
class Outcome:
    """What the demo found; the object that `npufleet demo --json` prints."""

    ok: bool = False
    heart_rate_bpm: float | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    fallback: dict[str, str | None] | None = None
    engines: dict[str, int] = field(default_factory=dict)
    trace_id: str | None = None
    spans: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


def run(*, as_json: bool = False) -> int:
    """Run the demo; the exit code is 0 when every step did what it shows."""
    trace_everything()
    report = Report(quiet=as_json)
    outcome = Outcome()
    try:
        _steps(outcome, report)
        outcome.ok = True
    except FleetError as error:
        outcome.error = f"{error.kind}: {error}"
    report.end(outcome)
    return 0 if outcome.ok else 1


def trace_everything() -> None:
    """Sample every request, into local files: the demo shows one of them."""
    os.environ.setdefault("OTEL_TRACES_SAMPLER", "always_on")
    os.environ.setdefault("OTEL_BSP_SCHEDULE_DELAY", "200")
    os.environ["OTEL_TRACES_EXPORTER"] = "file"


def _steps(outcome: Outcome, report: Report) -> None:
    from npufleet import Fleet

    report.step("starting a local fleet")
    with Fleet.local() as fleet:
        report.fleet(fleet)
        pulse = heart_rate.recording()

        report.step("heart rate: 24.8 s of a real pulse through fft")
        outcome.heart_rate_bpm = heart_rate.heart_rate_bpm(fleet, pulse)
        report.heart_rate(outcome.heart_rate_bpm)

        report.step(f"file types: Magika's model on {FILES} files of this project, in batches of {MAX_BATCH}")
        file_types.add_model(fleet, MAX_BATCH)
        paths = file_types.repository_files(FILES)
        started = time.perf_counter()
        kinds = file_types.classify(fleet, paths)
        outcome.files = [asdict(kind) for kind in kinds]
        report.files(kinds, time.perf_counter() - started)

        outcome.trace_id = fleet.call("fft", pulse).trace_id
        outcome.spans = _complete_trace(outcome.trace_id)

        report.step("a crash: the Rust worker is killed (SIGKILL) half-way through a row of calls")
        outcome.fallback = _kill_in_the_middle(fleet, lambda: fleet.call("fft", pulse, timeout=CRASH_TIMEOUT_S))
        report.fallback(outcome.fallback)
        outcome.engines = dict(fleet.statistics().engines)


def _kill_in_the_middle(fleet: Any, call: Callable[[], Any]) -> dict[str, str | None]:
    """Call, kill, go on calling; the engine and the reason of the first answer after the kill."""
    rust = fleet.pids.get("rust")
    results = []
    for index in range(CALLS_AROUND_THE_KILL):
        if index == CALLS_AROUND_THE_KILL // 2 and rust is not None:
            os.kill(rust, signal.SIGKILL)
        results.append(call())
    last = results[CALLS_AROUND_THE_KILL // 2 :]
    fallen_back = next((result for result in last if result.fallback_reason), None)
    if rust is None:
        return {"engine": last[0].engine, "reason": "no Rust worker runs here: Python serves every request"}
    if fallen_back is None:
        raise UnavailableError("the Rust worker was killed and no request fell back to the Python worker")
    return {"engine": fallen_back.engine, "reason": fallen_back.fallback_reason}


def _complete_trace(trace_id: str | None) -> list[dict[str, Any]]:
    """Spans of a trace once the worker's have arrived: exporters write a moment after the reply."""
    from npufleet.telemetry import tree

    if trace_id is None:
        raise UnavailableError("the request was not traced: unset OTEL_SDK_DISABLED and OTEL_TRACES_SAMPLER")
    deadline = time.monotonic() + TRACE_TIMEOUT_S
    wanted = {"receive", "execute", "reply", "result"}
    while True:
        found = tree.find(trace_id)
        names = {span.name for span in found.spans} if found else set()
        if found and wanted <= names:
            shown = ("service", "name", "parent", "microseconds")
            return [{name: span[name] for name in shown} for span in found.to_dicts()]
        if time.monotonic() > deadline:
            missing = ", ".join(sorted(wanted - names))
            raise UnavailableError(f"trace {trace_id} lacks the spans {missing} after {TRACE_TIMEOUT_S:g} s")
        time.sleep(0.05)  # the exporters' own delay; there is nothing to be notified by
