"""Names of NATS subjects: where a request goes, and what a received subject means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from npufleet.errors import InvalidParameterError, UnknownOperationError
from npufleet.wire.contract import DEFAULT_LANE, LANES, NAME_PATTERN, OPERATIONS, VERSION
from npufleet.wire.document import DOCUMENT

PREFIX: Final[str] = DOCUMENT["subjects"]["prefix"]
ROUTES: Final = ("call", "fallback")
QUEUES: Final[dict[str, str]] = DOCUMENT["queues"]
"""The queue group that serves each route."""

_PREFIX_FORBIDDEN: Final = frozenset(" \t\r\n*>")


@dataclass(frozen=True, slots=True)
class Subject:
    """Where a request goes: `{prefix}.v1.{route}.{lane}.{operation}`, and `.{model}` for `infer` only."""

    operation: str
    model: str | None = None
    route: str = "call"
    lane: str = DEFAULT_LANE

    def format(self, prefix: str = PREFIX) -> str:
        """Return the subject's text, or raise `InvalidParameterError` when a part is no valid token."""
        if self.route not in ROUTES:
            raise InvalidParameterError(f"route is '{self.route}'; allowed: {', '.join(ROUTES)}")
        check_lane(self.lane)
        check_name("operation", self.operation)
        text = f"{check_prefix(prefix)}.v{VERSION}.{self.route}.{self.lane}.{self.operation}"
        row = OPERATIONS.get(self.operation)
        runs_models = row is not None and row.model
        if runs_models != (self.model is not None):
            allowed = "a model's name" if runs_models else "none"
            raise InvalidParameterError(f"model is {self.model!r} for {self.operation}; allowed: {allowed}")
        return text if self.model is None else f"{text}.{check_name('model', self.model)}"

    @classmethod
    def parse(cls, text: str, prefix: str = PREFIX) -> Subject:
        """Return what a subject means, or raise `UnknownOperationError` when it is none of a request's."""
        start = f"{check_prefix(prefix)}.v{VERSION}."
        reason: object = f"no {start} in front"
        if text.startswith(start):
            route, lane, name, model, *rest = [*text.removeprefix(start).split("."), None, None, None, None][:5]
            try:
                subject = cls(route=route or "", lane=lane or "", operation=name or "", model=model)
                if rest == [None] and subject.format(prefix) == text:
                    return subject
                reason = "too many parts"
            except InvalidParameterError as error:
                reason = error
        form = f"{start}<call or fallback>.<lane>.<operation>[.<model>]"
        raise UnknownOperationError(f"subject '{text:.200}' names no request: {reason}; allowed: {form}")


def cancel(call_id: str, prefix: str = PREFIX) -> str:
    """Return the subject on which an empty message cancels a call; `call_id` is `<client>.<sequence>`."""
    return f"{prefix}.v{VERSION}.cancel.{call_id}"


def call_id(reply: str) -> str | None:
    """Return a call's id, the last two tokens of its reply subject, or None when the subject has fewer."""
    tokens = reply.rsplit(".", 2)
    return f"{tokens[-2]}.{tokens[-1]}" if len(tokens) == 3 and tokens[-2] and tokens[-1] else None


def check_name(field: str, name: str) -> str:
    """Return an operation's or a model's name, or raise `InvalidParameterError` naming the field."""
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidParameterError(f"{field} is '{name}'; allowed: {NAME_PATTERN.pattern}")
    return name


def check_lane(lane: str) -> str:
    """Return a lane's name, or raise `InvalidParameterError`."""
    if lane not in LANES:
        raise InvalidParameterError(f"lane is '{lane}'; allowed: {', '.join(LANES)}")
    return lane


def check_prefix(prefix: str) -> str:
    """Return the first tokens of every subject, or raise `InvalidParameterError`."""
    if not all(prefix.split(".")) or not _PREFIX_FORBIDDEN.isdisjoint(prefix) or not prefix.isprintable():
        raise InvalidParameterError(f"prefix is '{prefix}'; allowed: tokens of a subject without wildcards")
    return prefix
