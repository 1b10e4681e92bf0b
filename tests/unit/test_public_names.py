"""What a program can import and call: changed only on purpose, and reviewed here when it is."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys

import numpy as np
import pytest

import npufleet
from npufleet import AsyncFleet, Fleet, FleetError, ModelInfo, Result, Statistics, errors
from npufleet.blocking import BlockingModels
from npufleet.wire import contract, frame

NAMES = [
    "Agent",
    "AsyncFleet",
    "CallCancelledError",
    "DEFAULT_LANE",
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
    "LANES",
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

METHODS = [  # beside one for each operation
    "as_completed",
    "asarray",
    "asynchronous",
    "call",
    "chain",
    "close",
    "connect",
    "empty",
    "flow",
    "gather",
    "group",
    "health",
    "job",
    "jobs",
    "local",
    "map",
    "max_payload",
    "models",
    "notes",
    "pids",
    "run",
    "state",
    "statistics",
    "stream",
    "submit",
    "submit_many",
    "transport",
    "url",
]

SIGNATURES = {
    "call": "operation, tensors, params=None, *, model=None, timeout=30.0, lane='normal', **more",
    "map": (
        "operation, rows, params=None, *, model=None, timeout=30.0, lane='normal', rows_per_request=None, "
        "concurrency=16"
    ),
    "stream": (
        "operation, rows, params=None, *, model=None, timeout=30.0, lane='normal', rows_per_request=None, "
        "concurrency=16"
    ),
    "infer": "model, inputs, *, version=None, timeout=30.0, lane='normal'",
    "fft": ("x, *, n=None, axis=-1, norm='backward', return_onesided=None, timeout=30.0, lane='normal'"),
    "echo": "tensors, *, delay=0.0, timeout=30.0, lane='normal'",
}


def signature(function: object) -> str:
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(function).parameters.values()]  # type: ignore[arg-type]
    return str(inspect.Signature([p for p in plain if p.name != "self"]))[1:-1]


def test_the_package_exports_these_names() -> None:
    assert sorted(npufleet.__all__) == NAMES
    assert all(getattr(npufleet, name) is not None for name in NAMES)
    assert set(NAMES) <= set(dir(npufleet))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        npufleet.no_such_name  # noqa: B018


def test_every_error_class_is_exported() -> None:
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, FleetError)
    }
    assert classes <= set(NAMES)


def test_a_fleet_has_these_methods() -> None:
    names = {name for cls in Fleet.__mro__[:-1] for name in vars(cls) if not name.startswith("_")}
    assert sorted(names) == sorted([*METHODS, *contract.OPERATIONS])


@pytest.mark.parametrize("fleet", [AsyncFleet, Fleet])
@pytest.mark.parametrize("name", SIGNATURES)
def test_the_methods_take_these_arguments(fleet: type, name: str) -> None:
    assert signature(getattr(fleet, name)) == SIGNATURES[name]


def test_every_operation_has_a_method() -> None:
    for name in contract.OPERATIONS:
        assert callable(getattr(AsyncFleet, name))
        assert callable(getattr(Fleet, name))


def test_the_registry_has_these_methods() -> None:
    assert signature(BlockingModels.add) == (
        "name, path, *, version=None, max_batch=32, precision=None, devices=None, max_queue_delay=0.0, "
        "instances=None, performance_hint=None, keep=False, timeout=60.0, progress=None"
    )
    assert signature(BlockingModels.info) == "name, version=None"
    assert signature(BlockingModels.remove) == "name, version=None"
    assert signature(BlockingModels.list) == ""
    assert signature(BlockingModels.serve) == "name, versions, *, timeout=60.0"
    assert signature(BlockingModels.benchmark) == (
        "name, *, version=None, batch_size=1, requests=8, seconds=5.0, shapes=None, inputs=None, timeout=30.0"
    )


def test_what_comes_back_has_these_fields() -> None:
    properties = {name for name in vars(Result) if not name.startswith("_")}
    assert properties == {"array", "device", "engine", "fallback_reason", "params", "tensors", "timing", "trace_id"}
    assert [field.name for field in dataclasses.fields(Statistics)] == [
        "calls", "answered", "retries", "errors", "fallbacks", "engines", "placements",
    ]  # fmt: skip
    assert [field.name for field in dataclasses.fields(ModelInfo)] == [
        "name", "version", "format", "files", "max_batch", "precision", "devices", "max_queue_delay_us", "instances",
        "performance_hint", "added", "policy", "workers",
    ]  # fmt: skip


def test_everything_public_says_what_it_is() -> None:
    undocumented = [
        f"{cls.__name__}.{name}"
        for cls in (AsyncFleet, Fleet, BlockingModels, Result, Statistics, ModelInfo)
        for name in dir(cls)
        if not name.startswith("_") and not inspect.getdoc(getattr(cls, name)) and name not in _FIELDS
    ]
    assert undocumented == []


_FIELDS = {"params", "trace_id"} | {field.name for cls in (Statistics, ModelInfo) for field in dataclasses.fields(cls)}

HEAVY = ("openvino", "scipy", "opentelemetry.sdk", "nats", "typer", "rich")


def test_a_fleet_is_imported_without_what_it_may_never_need() -> None:
    text = f"import sys, npufleet; npufleet.Fleet; print([m for m in {HEAVY!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_result_is_a_mapping_of_arrays() -> None:
    class Reply:
        status, payload = 0, frame.encode({"y": np.zeros(2), "z": np.ones(1)}, {"n": 3})

        def tensors(self) -> dict[str, np.ndarray]:
            return frame.tensors_of(self.payload)

        def header(self, name: str) -> str | None:
            return {"Npu-Engine": "rust", "Npu-Timing": "queued=1;fetching=2;batching=3;executing=4"}.get(name)

    reply = Reply()
    result = Result(reply)
    assert result.params == {"n": 3}
    assert list(result) == ["y", "z"]
    assert len(result) == 2
    assert result.engine == "rust"
    assert result.timing is not None
    assert result.timing.executing == 4
    assert result.device is result.fallback_reason is result.trace_id is None
    with pytest.raises(errors.InvalidShapeError, match="y, z"):
        _ = result.array
