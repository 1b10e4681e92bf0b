"""What the registry and the workers say about a model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from npufleet.errors import InvalidParameterError, UnavailableError
from npufleet.model_policy import LATEST, Policy

DEFAULT_MAX_BATCH: Final = 32
INSTANCES_LIMIT: Final = 64
HINTS: Final = ("latency", "throughput")

State = Literal["loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model; a dimension of None is dynamic, a shape of None wholly unknown."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class WorkerModel:
    """One model version on one worker; `load_ms` is how long compiling and warming up took."""

    worker: str
    state: State
    engine: str
    device: str | None = None
    error: str | None = None
    load_ms: float | None = None
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    notes: tuple[str, ...] = ()
    """Why it does not run elsewhere or otherwise: devices that were passed over or lost, batching turned off."""

    @classmethod
    def parse(cls, worker: str, value: bytes) -> WorkerModel:
        """Read a value of the status bucket."""
        row = _object(value, f"status of worker {worker}")
        return cls(
            worker=worker,
            state=row.get("state", "failed"),
            engine=row.get("engine", "unknown"),
            device=row.get("device"),
            error=row.get("error"),
            load_ms=row.get("load_ms"),
            inputs=_ports(row.get("inputs")),
            outputs=_ports(row.get("outputs")),
            notes=tuple(row.get("notes") or ()),
        )


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a model in the object store; `size` in bytes, `sha256` in hex."""

    name: str
    object: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A registered model version; `workers` are the live workers that have said something about it.

    `policy` says which versions of the model are served: `latest`, `all`, or the pinned ones.
    """

    name: str
    version: int
    format: str
    files: tuple[StoredFile, ...]
    max_batch: int
    precision: str | None = None
    devices: tuple[str, ...] | None = None
    max_queue_delay_us: int = 0
    instances: int | None = None
    performance_hint: str | None = None
    added: str = ""
    policy: Policy = LATEST
    workers: tuple[WorkerModel, ...] = field(default=())

    @property
    def key(self) -> str:
        """The registry's key: `<name>.<version>`."""
        return f"{self.name}.{self.version}"

    @property
    def ready(self) -> bool:
        """Whether at least one worker serves it."""
        return any(worker.state == "ready" for worker in self.workers)

    @classmethod
    def parse(cls, value: bytes, workers: tuple[WorkerModel, ...] = ()) -> ModelInfo:
        """Read a value of the registry bucket."""
        row = _object(value, "registry entry")
        devices = row.get("devices")
        return cls(
            name=str(row.get("name")),
            version=int(row.get("version", 0)),
            format=str(row.get("format")),
            files=tuple(
                StoredFile(**{key: each.get(key) for key in StoredFile.__slots__}) for each in row.get("files", ())
            ),
            max_batch=int(row.get("max_batch", 1)),
            precision=row.get("precision"),
            devices=tuple(devices) if devices else None,
            max_queue_delay_us=row.get("max_queue_delay_us", 0),
            instances=row.get("instances"),
            performance_hint=row.get("performance_hint"),
            added=row.get("added", ""),
            workers=workers,
        )

    def value(self) -> bytes:
        """Return the value for the registry bucket."""
        row = {
            "name": self.name,
            "version": self.version,
            "format": self.format,
            "files": [{key: getattr(file, key) for key in StoredFile.__slots__} for file in self.files],
            "max_batch": self.max_batch,
            "precision": self.precision,
            "devices": list(self.devices) if self.devices else None,
            "max_queue_delay_us": self.max_queue_delay_us,
            "instances": self.instances,
            "performance_hint": self.performance_hint,
            "added": self.added,
        }
        return json.dumps(row).encode()


def check_number(field: str, value: float, minimum: float, maximum: float) -> None:
    """Raise `InvalidParameterError` unless `value` is a number from `minimum` to `maximum`."""
    if isinstance(value, bool) or not minimum <= value <= maximum:
        raise InvalidParameterError(f"{field} is {value!r}; allowed: {minimum:g} to {maximum:.0f}")


def _ports(rows: list[dict[str, Any]] | None) -> tuple[Port, ...]:
    return tuple(
        Port(row["name"], row["dtype"], tuple(row["shape"]) if row.get("shape") is not None else None)
        for row in rows or ()
    )


def _object(value: bytes, what: str) -> dict[str, Any]:
    try:
        row = json.loads(value)
    except ValueError as error:
        raise UnavailableError(f"{what} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise UnavailableError(f"{what} is no JSON object")
    return row
