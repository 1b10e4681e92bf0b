"""Tensor operations (inference, signal processing) on a fleet of NPU workers over NATS.

    from npufleet import Fleet

    with Fleet.local() as fleet:
        spectrum = fleet.fft(samples)

The map, in the order that a request flows:

    fleet, blocking      `AsyncFleet` and `Fleet`: the methods that a program calls
    call, recovery       one call: sent, awaited, answered by another engine or refused
    wire                 frames, subjects, headers and the contract's rows
    transport            a frame to a subject and the reply back, compiled or over nats-py
    broker               the embedded nats-server, and the supervisor that keeps a local fleet running
    worker, operations   the Python engine
    result, errors       what comes back
    models, control      the model registry and the services protocol
    telemetry, health    what happened, and how everything is
    cli, demo            the command `npufleet`
"""

from npufleet.blocking import Fleet
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
    UnsupportedError,
)
from npufleet.fleet import AsyncFleet
from npufleet.model_info import ModelInfo
from npufleet.result import Result
from npufleet.statistics import Statistics
from npufleet.wire.contract import DEFAULT_LANE, LANES

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_LANE",
    "LANES",
    "AsyncFleet",
    "CallCancelledError",
    "DeadlineExceededError",
    "DeviceLostError",
    "Fleet",
    "FleetError",
    "InternalError",
    "InvalidFrameError",
    "InvalidParameterError",
    "InvalidShapeError",
    "ModelInfo",
    "OverloadedError",
    "PayloadLostError",
    "PayloadTooLargeError",
    "Result",
    "Statistics",
    "UnavailableError",
    "UnknownModelError",
    "UnknownOperationError",
    "UnsupportedError",
    "__version__",
]
