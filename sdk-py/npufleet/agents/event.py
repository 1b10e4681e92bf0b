"""What a handler of a subject gets, and what becomes of what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from npufleet.agents import values
from npufleet.jobs.flow import Step
from npufleet.result import Result
from npufleet.wire import frame, header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from npufleet.fleet import AsyncFleet


@dataclass(frozen=True, slots=True)
class Event:
    """A message on a subject that an agent listens to."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    reply: str = ""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a frame; raises `InvalidFrameError` when the message is none."""
        return frame.decode(self.data)[0]

    def values(self) -> dict[str, Any]:
        """Return the arrays and JSON values of a frame, or a JSON object; raises `InvalidFrameError`."""
        return values.decode(self.data)[0]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is delivered for one event."""

    data: bytes
    headers: dict[str, str]


async def deliverable(fleet: AsyncFleet, returned: object, event: Event, *, durable: bool) -> Delivery | None:
    """Do the operation that a handler asked for, and return what is to be delivered; None is nothing.

    A `Step` is done as a call, or as a job where the handler is `durable`. A result or a mapping becomes a frame.
    Raises what the operation raises.
    """
    if returned is None:
        return None
    said: dict[str, str] = {}
    if isinstance(returned, Step):
        returned, said = await _done(fleet, returned, event, durable=durable)
    if isinstance(returned, bytes):
        return Delivery(returned, said)
    if isinstance(returned, Result):
        known = {header.ENGINE: returned.engine, header.DEVICE: returned.device}
        said |= {name: value for name, value in known.items() if value is not None}
        return Delivery(frame.encode(dict(returned), returned.params), said)
    return Delivery(values.encode("what the handler returned", returned), said)


async def _done(fleet: AsyncFleet, step: Step, event: Event, *, durable: bool) -> tuple[Result, dict[str, str]]:
    tensors = {} if step.tensors is None else step.tensors
    if not durable:
        return await fleet.call(step.operation, tensors, step.params, model=step.model), {}
    # An event that comes twice with the same id is the same job.
    key = event.headers.get(header.MESSAGE_ID)
    job = await fleet.submit(step.operation, tensors, step.params, model=step.model, idempotency_key=key)
    return await job.result(timeout=float("inf")), {header.JOB_ID: job.id}
