"""One operation, or one model, on one route: where its requests come from, who does them, what was counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import UnknownModelError
from npufleet.wire.contract import FALLBACK_REASONS, VERSION
from npufleet.wire.subject import QUEUES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from npufleet.errors import FleetError
    from npufleet.wire.contract import Operation
    from npufleet.worker.inference import Model

_WEIGHT: Final = 0.2
_OTHER: Final = "other"


@dataclass(slots=True)
class Statistics:
    """Counters of one endpoint since the worker started; durations are nanoseconds."""

    requests: int = 0
    rows: int = 0
    batches: int = 0
    processing_time: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    fallback: Counter[str] = field(default_factory=Counter)
    device_failures: Counter[str] = field(default_factory=Counter)
    last_error: str = ""


class Endpoint:
    """An operation on the route `call` or `fallback`; for `infer` of one model, which may be swapped while serving."""

    def __init__(self, row: Operation, route: str, prefix: str, model: Model | None = None) -> None:
        name = model.name if model else None
        self.row = row
        self.route = route
        self.models: dict[int, Model] = {} if model is None else {model.version: model}
        """The versions of the model that are served."""
        self.find_model: Callable[[str, Mapping[str, Any]], Model | None] = lambda _name, _params: None
        """What a pipeline asks for the models of its steps."""
        self.queue_group = QUEUES[route]
        self.subject = self.subject_of(row, route, prefix, name)
        # Where a subject's lane stands.
        self.lane_token = prefix.count(".") + 3
        self.name = f"{row.name}-{name}" if name else row.name
        self.statistics = Statistics()
        self.queued = 0
        self._seconds = 0.0

    @property
    def model(self) -> Model | None:
        """The model that serves requests without a version: the highest one; None for an operation."""
        return self.models[max(self.models)] if self.models else None

    def choose(self, params: Mapping[str, Any]) -> Model | None:
        """Return the model for these parameters; raises `UnknownModelError` for a version that is not served."""
        if not self.models or params.get("version") is None:
            return self.model
        model = self.models.get(params["version"])
        if model is None:
            served = ", ".join(map(str, sorted(self.models)))
            raise UnknownModelError(f"version {params['version']} is not served; served here: {served}")
        return model

    @staticmethod
    def subject_of(row: Operation, route: str, prefix: str, model: str | None) -> str:
        """Return the subject that an endpoint subscribes to: every lane of the operation, or of the model."""
        return f"{prefix}.v{VERSION}.{route}.*.{row.name}" + (f".{model}" if model else "")

    @property
    def seconds(self) -> float:
        """What a request takes an executor, as an average that follows; 0 before the first one."""
        return self._seconds

    def count_fallback(self, reason: str) -> None:
        """Count why a request left its first engine; words that the contract lacks are counted as one."""
        word = reason.partition(":")[0].strip()
        self.statistics.fallback[word if word in FALLBACK_REASONS else _OTHER] += 1

    def count_batch(self, members: int, rows: int, nanoseconds: int) -> None:
        """Take one executed batch into the counters and the average."""
        self.statistics.batches += 1
        self.statistics.rows += rows
        self.statistics.processing_time += nanoseconds
        if self.statistics.batches == 1:
            # The first one imports and plans what all later ones use.
            return
        sample = nanoseconds / 1e9 / max(members, 1)
        self._seconds = sample if self._seconds == 0.0 else self._seconds + _WEIGHT * (sample - self._seconds)

    def count_error(self, error: FleetError) -> None:
        """Count one refused or failed request."""
        self.statistics.errors[error.kind] += 1
        self.statistics.last_error = f"{error.code}:{error}"

    def information(self) -> dict[str, Any]:
        """Return the endpoint's entry in the service protocol's INFO answer."""
        return {"name": self.name, "subject": self.subject, "queue_group": self.queue_group, "metadata": {}}

    def counters(self) -> dict[str, Any]:
        """Return the endpoint's entry in the service protocol's STATS answer."""
        counted = self.statistics
        errors = counted.errors
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue_group,
            "num_requests": counted.requests,
            "num_errors": errors.total(),
            "last_error": counted.last_error,
            "processing_time": counted.processing_time,
            "average_processing_time": counted.processing_time // max(counted.requests, 1),
            "data": {
                "rows": counted.rows,
                "batches": counted.batches,
                "queued": self.queued,
                "overloaded": errors["overloaded"],
                "cancelled": errors["cancelled"],
                "deadline_exceeded": errors["deadline_exceeded"],
                "handed_over": {},
                "fallback": dict(counted.fallback),
                "device_failures": dict(counted.device_failures),
            },
        }
