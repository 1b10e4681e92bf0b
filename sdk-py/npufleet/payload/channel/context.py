"""The process's one context of libzmq, made when it is first needed."""

from __future__ import annotations

import os
import threading
from typing import Any, Final

import zmq

from npufleet.errors import OverloadedError
from npufleet.wire.document import DOCUMENT

_CONTRACT: Final[dict[str, int]] = DOCUMENT["channel"]
_LINGER_MS: Final = 100
"""A refusal or a request to stop may still leave when a socket is closed."""

_DESCRIPTORS: Final = 16
_lock = threading.Lock()
_current: tuple[int, zmq.Context[Any]] | None = None


def context() -> zmq.Context[Any]:
    """Return the context of this process; a forked child gets one of its own.

    Raises `OverloadedError` when descriptors are short.
    """
    global _current
    with _lock:
        if _current is None or _current[0] != os.getpid():
            _look_for_descriptors()
            _current = (os.getpid(), zmq.Context())
        return _current[1]


def make_socket(kind: int, *, ipv6: bool, high_water: int, largest: int) -> zmq.Socket[bytes]:
    """Return a socket with the limits that every one of the channel has; raises `OverloadedError`."""
    try:
        made: zmq.Socket[bytes] = context().socket(kind)
    except zmq.ZMQError as error:
        raise short(error) from error
    made.setsockopt(zmq.LINGER, _LINGER_MS)
    made.setsockopt(zmq.SNDHWM, high_water)
    made.setsockopt(zmq.RCVHWM, high_water)
    made.setsockopt(zmq.MAXMSGSIZE, largest)
    made.setsockopt(zmq.HEARTBEAT_IVL, _CONTRACT["heartbeat"] // 1000)
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, _CONTRACT["heartbeat_timeout"] // 1000)
    made.setsockopt(zmq.HANDSHAKE_IVL, _CONTRACT["handshake_timeout"] // 1000)
    made.setsockopt(zmq.IPV6, int(ipv6))
    return made


def short(error: Exception) -> OverloadedError:
    """What is said when the process has no room for a socket."""
    return OverloadedError(f"no socket for the payload channel: {error}")


def _look_for_descriptors() -> None:
    """Libzmq ends the process when it runs out of descriptors while it starts, so that this looks first."""
    found: list[int] = []
    try:
        found.extend(os.eventfd(0, os.EFD_CLOEXEC) for _ in range(_DESCRIPTORS))
    except OSError as error:
        raise short(error) from error
    finally:
        for descriptor in found:
            os.close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: globals().__setitem__("_lock", threading.Lock()))
