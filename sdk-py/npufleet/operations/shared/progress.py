"""How far an operation is, for those that take long: reported by the operation, read by whoever executes it.

Of this thread: an operation runs on one, from its beginning to its end. Where nobody listens, a report costs a look.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Range(NamedTuple):
    listener: Callable[[float], None]
    first: float
    last: float


class _Thread(threading.local):
    range: _Range | None = None


_thread = _Thread()


def report(done: float) -> None:
    """Say that the share `done` (0 to 1) of this operation, or of this part of it, is done."""
    found = _thread.range
    if found is not None:
        found.listener(found.first + (found.last - found.first) * done)


@contextmanager
def part(first: float, last: float) -> Iterator[None]:
    """Let what is reported inside count for the part from `first` to `last` (0 to 1) of what is reported outside."""
    outer = _thread.range
    if outer is None:
        yield
        return
    span = outer.last - outer.first
    _thread.range = outer._replace(first=outer.first + span * first, last=outer.first + span * last)
    try:
        yield
    finally:
        _thread.range = outer
        report(last)


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Have `listener` called with each report (0 to 1) of this thread."""
    outer = _thread.range
    _thread.range = _Range(listener, 0.0, 1.0)
    try:
        yield
    finally:
        _thread.range = outer
