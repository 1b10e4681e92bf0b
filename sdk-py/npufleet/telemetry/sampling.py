"""Head sampling: decides once per call, in well under a microsecond, whether it is traced.

`OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` are honoured; without them one call in a hundred is traced and
an active OpenTelemetry span of the caller decides for its calls.
"""

from __future__ import annotations

import logging
import os
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from random import random
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import SpanContext

DEFAULT_RATIO: Final = 0.01
UNSAMPLED: Final = False
OFF: Final = -1.0

_log = logging.getLogger(__name__)
_TRACE_ID_BITS: Final = (1 << 64) - 1
_PARENT_BASED: Final = "parentbased_"


@dataclass(frozen=True, slots=True)
class Policy:
    """Trace `ratio` (0 to 1) of the calls that have no parent; a parent decides for its own if `parent_based`."""

    ratio: float
    parent_based: bool = True


def policy(environ: Mapping[str, str], default_ratio: float = DEFAULT_RATIO) -> Policy | None:
    """Return what the environment asks for, or None when tracing is off altogether.

    An unknown sampler or an argument that is no ratio is reported in the log and replaced by the default.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if not sampler:
        return Policy(default_ratio)
    name = sampler.removeprefix(_PARENT_BASED)
    ratios = {"always_on": 1.0, "always_off": 0.0}
    if name == "traceidratio":
        ratios[name] = _ratio(environ.get("OTEL_TRACES_SAMPLER_ARG", "1.0"), default_ratio)
    if name not in ratios:
        _log.warning("OTEL_TRACES_SAMPLER is %r; using parentbased_traceidratio %s", sampler, default_ratio)
        return Policy(default_ratio)
    return Policy(ratios[name], parent_based=sampler.startswith(_PARENT_BASED))


def _ratio(text: str, default: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0.0 <= value <= 1.0:
        return value
    _log.warning("OTEL_TRACES_SAMPLER_ARG is %r; allowed: 0 to 1; using %s", text, default)
    return default


class Head:
    """The decision for this process; `ratio` is the share of calls without a parent that is traced, -1 when all is off.

    `random() < ratio` is the whole decision where no OpenTelemetry is imported, and callers in a hurry make it so.
    """

    __slots__ = ("_policy", "ratio")

    def __init__(self, chosen: Policy | None) -> None:
        self._policy = chosen
        self.ratio = OFF if chosen is None else chosen.ratio

    @property
    def off(self) -> bool:
        """Whether tracing is off altogether."""
        return self._policy is None

    def decide(self) -> SpanContext | Literal[False] | None:
        """Return False (not traced), None (traced, a root), or the caller's active span (traced, its child)."""
        chosen = self._policy
        if chosen is None:
            return UNSAMPLED
        read = context_reader()
        if read is not None and read():
            return self._with_parent(chosen)
        return None if random() < chosen.ratio else UNSAMPLED  # noqa: S311 - a sampling decision, not a secret

    @staticmethod
    def _with_parent(chosen: Policy) -> SpanContext | Literal[False] | None:
        from opentelemetry import trace

        parent = trace.get_current_span().get_span_context()
        if not parent.is_valid:
            return None if random() < chosen.ratio else UNSAMPLED  # noqa: S311
        if chosen.parent_based:
            return parent if parent.trace_flags.sampled else UNSAMPLED
        # The same rule as every other traceidratio sampler, so that one trace is kept or dropped as a whole.
        return parent if parent.trace_id & _TRACE_ID_BITS < chosen.ratio * (_TRACE_ID_BITS + 1) else UNSAMPLED


def context_reader() -> Callable[[], object] | None:
    """Return what tells OpenTelemetry's active context, empty when there is none; None where it is not imported.

    A program that never imported OpenTelemetry has no active span; nor has one whose other thread is about to.
    """
    module = sys.modules.get("opentelemetry.context")
    get_current = getattr(module, "get_current", None)
    if get_current is None:
        return None
    # Its context variable itself, where it is one: asked for every call, and the way around costs three times as much.
    variable = getattr(getattr(module, "_RUNTIME_CONTEXT", None), "_current_context", None)
    return variable.get if isinstance(variable, ContextVar) else get_current


current: Head | None = None
"""What `head` returns; None until it is asked for."""

_default_ratio = DEFAULT_RATIO


def head() -> Head:
    """Return this process's sampler, made from the environment at the first call."""
    global current
    if current is None:
        current = Head(policy(os.environ, _default_ratio))
    return current


def use_default_ratio(ratio: float) -> None:
    """Trace this share of calls where the environment does not say; for programs such as the command line."""
    global current, _default_ratio
    _default_ratio = ratio
    current = None


def reload() -> None:
    """Read the environment again at the next call; for tests."""
    global current
    current = None
