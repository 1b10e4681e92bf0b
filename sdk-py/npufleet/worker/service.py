"""A worker as a service of NATS: which devices it has, which operations it does, what it has counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from npufleet.transport import service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nats.aio.client import Client

    from npufleet.worker.endpoint import Endpoint

NAME: Final = "npufleet"
_DESCRIPTION: Final = "tensor operations of the npufleet contract, done in Python"


def of_worker(
    client: Client,
    worker_id: str,
    devices: Callable[[], list[dict[str, Any]]],
    endpoints: Callable[[], Iterable[Endpoint]],
) -> service.Service:
    """Return the service that a worker is."""
    from npufleet import __version__

    def metadata() -> dict[str, str]:
        return {"engine": "python", "contract": "1", "devices": json.dumps(devices())}

    return service.Service(client, NAME, worker_id, __version__, _DESCRIPTION, metadata, endpoints)
