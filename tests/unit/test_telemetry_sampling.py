"""Head sampling: what the environment asks for, what the caller's span says, what it costs."""

from __future__ import annotations

import logging
import subprocess
import sys
import timeit
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from npufleet.telemetry import sampling
from npufleet.telemetry.sampling import DEFAULT_RATIO, Head, Policy

SDK = Path(__file__).parents[2] / "sdk-py"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Policy(DEFAULT_RATIO)),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, Policy(1.0, parent_based=False)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, Policy(0.0, parent_based=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, Policy(1.0)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Policy(0.0)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, Policy(0.25, parent_based=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, Policy(0.25)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, Policy(1.0)),
        ({"OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_TRACES_SAMPLER": "always_on"}, None),
    ],
)
def test_the_environment_decides(variables, expected):
    assert sampling.policy(variables) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_SAMPLER": "sometimes"},
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"},
    ],
)
def test_what_is_not_understood_is_said_and_replaced(variables, caplog):
    with caplog.at_level(logging.WARNING):
        assert sampling.policy(variables) == Policy(DEFAULT_RATIO)
    assert "OTEL_TRACES_SAMPLER" in caplog.text


def test_without_a_parent_the_ratio_decides():
    assert Head(Policy(0.0)).decide() is sampling.UNSAMPLED
    assert Head(Policy(1.0)).decide() is None
    assert Head(None).decide() is sampling.UNSAMPLED
    head = Head(Policy(0.1))
    share = sum(head.decide() is None for _ in range(20_000)) / 20_000
    assert 0.08 < share < 0.12


@pytest.mark.parametrize(
    ("policy", "flag", "low", "traced"),
    [
        (Policy(0.0), 1, 0, True),
        (Policy(1.0), 0, 0, False),
        # Not parent based: the trace id decides, the same way in every process.
        (Policy(0.5, parent_based=False), 0, (1 << 63) - 1, True),
        (Policy(0.5, parent_based=False), 1, 1 << 63, False),
        (Policy(1.0, parent_based=False), 0, (1 << 64) - 1, True),
    ],
)
def test_with_a_parent(policy, flag, low, traced):
    parent = SpanContext((7 << 64) | low, 5, is_remote=False, trace_flags=TraceFlags(flag))
    token = trace.context_api.attach(trace.set_span_in_context(NonRecordingSpan(parent), Context()))
    try:
        decided = Head(policy).decide()
    finally:
        trace.context_api.detach(token)
    assert decided is (parent if traced else sampling.UNSAMPLED)


PROGRAM = """
import timeit
from npufleet.telemetry.spans import start_call
start_call("echo", "s", "normal")
{imports}
print(min(timeit.repeat(lambda: start_call("echo", "s", "normal"), number=10_000, repeat=50)) / 10_000)
"""


@pytest.mark.parametrize("imports", ["", "import opentelemetry.trace"], ids=["alone", "beside OpenTelemetry"])
def test_a_call_that_is_not_sampled_costs_next_to_nothing(imports):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(imports=imports)],
        env={"PYTHONPATH": str(SDK), "OTEL_TRACES_SAMPLER": "parentbased_always_off"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    # In units of an empty call on this machine, since machines differ; it takes about five.
    empty = min(timeit.repeat(lambda: None, number=10_000, repeat=50)) / 10_000
    assert float(ended.stdout) < 25 * empty
