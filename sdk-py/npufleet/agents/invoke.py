"""Asking an agent for something by its name."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from npufleet.agents import values
from npufleet.errors import (
    DeadlineExceededError,
    FleetError,
    InvalidParameterError,
    UnavailableError,
    UnknownOperationError,
    from_kind,
)
from npufleet.telemetry.spans import start_call
from npufleet.wire import header, job
from npufleet.wire.contract import DEFAULT_LANE, VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.fleet import AsyncFleet

INVOKE_S: Final = 30.0
FIND_S: Final = 1.0


def subject_of(prefix: str, agent: str, action: str) -> str:
    """Return where an agent is asked for something; `*` stands for any action."""
    return f"{prefix}.v{VERSION}.agent.{check('agent', agent)}.{check('action', action)}"


def check(field: str, name: str) -> str:
    """Return an agent's or an action's name, or raise `InvalidParameterError`."""
    if not isinstance(name, str) or not job.ID_PATTERN.fullmatch(name):
        raise InvalidParameterError(f"{field} is '{str(name)[:80]}'; allowed: {job.ID_PATTERN.pattern}")
    return name


async def invoke(
    fleet: AsyncFleet,
    agent: str,
    action: str,
    arguments: Mapping[str, object] | None = None,
    *,
    timeout: float = INVOKE_S,  # noqa: ASYNC109 - it travels with the request as its deadline
) -> dict[str, Any]:
    """Ask an agent for an action and return what it gives: names to arrays and JSON values.

    Raises `UnavailableError` at once when no agent of that name is there, `UnknownOperationError` at once when it has
    no such action, `DeadlineExceededError` after `timeout` seconds, and what the agent's own code raised.
    """
    subject = subject_of(fleet.options.prefix, agent, action)
    data = values.encode("arguments", arguments)
    client = await fleet.control.client()
    if not client.is_connected:
        raise UnavailableError("the connection to the broker is lost")
    span = start_call(f"{agent}.{action}", subject, DEFAULT_LANE, "invoke")
    headers = {header.DEADLINE: str(int((time.time() + timeout) * 1e6)), **({} if span is None else span.headers)}
    error_kind: str | None = UnavailableError.kind
    try:
        message = await _ask(client, agent, action, subject, data, timeout, headers)
        said = message.headers or {}
        error_kind = said.get(header.ERROR_KIND) or (UnavailableError.kind if header.ERROR in said else None)
        if error_kind is not None:
            raise from_kind(error_kind, said.get(header.ERROR, error_kind))
        return values.decode(message.data)[0]
    except FleetError as error:
        error_kind = error.kind
        raise
    except nats.errors.TimeoutError:
        raise DeadlineExceededError(f"{agent}.{action} gave no answer in {timeout:g} s") from None
    except (nats.errors.Error, OSError) as error:
        raise UnavailableError(f"{agent} cannot be asked: {error or type(error).__name__}") from error
    finally:
        if span is not None:
            span.end(error_kind)


async def _ask(
    client: Client, agent: str, action: str, subject: str, data: bytes, seconds: float, headers: dict[str, str]
) -> Msg:
    """Ask until somebody hears it, or it is known that nobody is there to: an agent may be about to start."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await client.request(subject, data, timeout=max(end - time.monotonic(), 0.001), headers=headers)
        except nats.errors.NoRespondersError:
            why = await _why_nobody(client, agent, action)
        if why is not None or time.monotonic() >= end:
            raise why or UnavailableError(f"agent '{agent}' is there and does not hear")


async def _why_nobody(client: Client, agent: str, action: str) -> Exception | None:
    """Say whether there is no such agent, or no such action of it; None when there is by now."""
    try:
        answer = await client.request(f"$SRV.INFO.{agent}", timeout=FIND_S)
        actions = [endpoint["name"] for endpoint in json.loads(answer.data)["endpoints"]]
    except (nats.errors.Error, OSError, ValueError, KeyError):
        return UnavailableError(f"no agent '{agent}' is there")
    if action in actions:
        return None
    listed = ", ".join(sorted(actions)) or "none"
    return UnknownOperationError(f"unknown action '{action}' of agent '{agent}'; allowed: {listed}")
