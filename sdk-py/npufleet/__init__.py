"""Tensor operations (inference, signal processing) on a fleet of NPU workers over NATS.

    from npufleet import Fleet

    with Fleet.local() as fleet:
        spectrum = fleet.fft(samples)

The map, in the order that a request flows:

    fleet, blocking      `AsyncFleet` and `Fleet`: the methods that a program calls
    call, recovery       one call: sent, awaited, answered by another engine or refused
    many, rows, parts    `map` and `stream`: many rows, cut into requests; pages: memory for their answers
    wire                 frames, subjects, headers and the contract's rows
    transport            a frame to a subject and the reply back, compiled or over nats-py
    broker               the embedded nats-server, and the supervisor that keeps a local fleet running
    worker, operations   the Python engine
    result, errors       what comes back
    agents               programs that react to subjects, and that ask each other by name
    jobs                 durable jobs: submitted, awaited, cancelled
    models, control      the model registry and the services protocol
    telemetry, health    what happened, and how everything is
    opening, runner      a fleet while it opens, and the thread behind a blocking one
    cli, demo            the command `npufleet`
"""

from importlib import import_module
from typing import TYPE_CHECKING

from npufleet.errors import (
    CallCancelledError,
    DeadlineExceededError,
    DeviceLostError,
    FleetError,
    InternalError,
    InvalidFrameError,
    InvalidParameterError,
    InvalidShapeError,
    OverloadedError,
    PayloadLostError,
    PayloadTooLargeError,
    UnavailableError,
    UnknownModelError,
    UnknownOperationError,
    UnknownOutcomeError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from npufleet.agents import Agent
    from npufleet.blocking import Fleet
    from npufleet.fleet import AsyncFleet
    from npufleet.jobs.flow import Flow, Step
    from npufleet.jobs.job import Job
    from npufleet.jobs.status import JobStatus
    from npufleet.model_info import ModelInfo
    from npufleet.result import Result
    from npufleet.statistics import Statistics
    from npufleet.wire.contract import DEFAULT_LANE, LANES

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_LANE",
    "LANES",
    "Agent",
    "AsyncFleet",
    "CallCancelledError",
    "DeadlineExceededError",
    "DeviceLostError",
    "Fleet",
    "FleetError",
    "Flow",
    "InternalError",
    "InvalidFrameError",
    "InvalidParameterError",
    "InvalidShapeError",
    "Job",
    "JobStatus",
    "ModelInfo",
    "OverloadedError",
    "PayloadLostError",
    "PayloadTooLargeError",
    "Result",
    "Statistics",
    "Step",
    "UnavailableError",
    "UnknownModelError",
    "UnknownOperationError",
    "UnknownOutcomeError",
    "UnsupportedError",
    "__version__",
]

# NumPy and asyncio are most of the start-up time; workers, the supervisor and `npufleet --help` need neither at once.
_LATER = {
    "Agent": "npufleet.agents",
    "AsyncFleet": "npufleet.fleet",
    "DEFAULT_LANE": "npufleet.wire.contract",
    "Fleet": "npufleet.blocking",
    "Flow": "npufleet.jobs.flow",
    "Job": "npufleet.jobs.job",
    "JobStatus": "npufleet.jobs.status",
    "LANES": "npufleet.wire.contract",
    "ModelInfo": "npufleet.model_info",
    "Result": "npufleet.result",
    "Statistics": "npufleet.statistics",
    "Step": "npufleet.jobs.flow",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, when it is asked for."""
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module 'npufleet' has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
