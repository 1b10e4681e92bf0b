"""Open a nats-py connection that reconnects forever and swallows no error."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any, Final

import nats.errors
from nats.aio import client as nats_client

from npufleet.errors import UnavailableError
from npufleet.transport import hint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.msg import Msg

    from npufleet.transport.options import ConnectOptions

    Callback = Callable[[], Awaitable[None]]

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 5
CANCEL_AGAIN_S: Final = 0.1
RECONNECT_WAIT_S: Final = 0.25
PING_INTERVAL_S: Final = 15


class Client(nats_client.Client):
    """A nats-py client whose `flush` and `drain` wait for everything that was sent before them.

    And whose requests end with their connection: nats-py lets them wait for an answer that cannot come any more.
    Headers are put together in one go, and requests are numbered: with nats-py that is most of what either costs.

    nats-py 2.16 writes a PING past the commands that it has queued. Its PONG then says nothing about a subscription
    or an unsubscription just before it: a drained subscription can lose a message, a flushed one can miss one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tokens = itertools.count()

    @property
    def clustered(self) -> bool:
        """Whether the server is a node of a cluster."""
        return bool(self._server_info.get("cluster"))

    async def _attempt_reconnect(self) -> None:
        for waiting in list(self._resp_map.values()):
            if not waiting.done():
                waiting.set_exception(nats.errors.ConnectionReconnectingError())
        await super()._attempt_reconnect()

    async def _request_new_style(
        self,
        subject: str,
        payload: bytes,
        timeout: float = 1.0,  # noqa: ASYNC109
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        if not self._resp_sub_prefix:
            await self._init_request_sub()
        token = str(next(self._tokens))
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._resp_map[token] = answer
        try:
            await self.publish(subject, payload, (self._resp_sub_prefix or b"").decode() + token, headers)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as error:
            raise nats.errors.TimeoutError from error
        finally:
            self._resp_map.pop(token, None)

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, Any] | None
    ) -> None:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()]) if headers else ""
        if not lines or not lines.count("\r") == lines.count("\n") == len(headers or ()):
            # None, or some that would be read as more than they are, with which nats-py deals.
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        block = f"NATS/1.0\r\n{lines}\r\n".encode()
        size = len(block)
        command = f"HPUB {subject} {reply} {size} {size + payload_size}\r\n".encode()
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        await self._send_command(b"".join((command, block, payload, b"\r\n")))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(nats_client.PING_PROTO)
        await self._flush_pending()


async def connect(
    client: nats_client.Client,
    options: ConnectOptions,
    *,
    disconnected: Callback | None = None,
    reconnected: Callback | None = None,
    closed: Callback | None = None,
) -> None:
    """Connect `client`, failing at the first refusal, and reconnect forever from then on.

    Raises `UnavailableError` with the address and a hint; later errors go to the log.
    """
    refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def on_error(error: Exception) -> None:
        if not refused.done():
            refused.set_result(error)
        else:
            _log.warning("connection to %s: %s", options.url, error or repr(error))

    opening = asyncio.ensure_future(
        client.connect(
            **_arguments(options),
            error_cb=on_error,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
            closed_cb=closed,
        )
    )
    try:
        waited: set[asyncio.Future[Any]] = {opening, refused}
        await asyncio.wait(waited, timeout=CONNECT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if opening.done() and not refused.done():
            opening.result()
            refused.set_result(Exception())  # connected: from here on errors are only logged
            return
        reason: Exception = refused.result() if refused.done() else TimeoutError(f"no answer in {CONNECT_TIMEOUT_S} s")
    except (OSError, nats.errors.Error, ValueError) as error:
        reason = error
    finally:
        await give_up(opening)
    await client.close()
    raise unavailable(options, reason) from reason


async def give_up(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        # Again until it helps: nats-py takes a cancellation that meets a refused connection for the refusal.
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


def unavailable(options: ConnectOptions, error: Exception) -> UnavailableError:
    """Say in one line which address refused us, why, and what helps."""
    reason = str(error) or type(error).__name__
    return UnavailableError(f"cannot connect to {options.url}: {reason}; {hint(reason)}")


def _arguments(options: ConnectOptions) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "servers": options.url,
        "name": options.name,
        "inbox_prefix": options.inbox_prefix,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "reconnect_time_wait": RECONNECT_WAIT_S,
        "max_reconnect_attempts": -1,
        "ping_interval": PING_INTERVAL_S,
    }
    given = {
        "user": options.user,
        "password": options.password,
        "token": options.token,
        "user_credentials": options.credentials,
        "tls": options.ssl_context() if options.tls else None,
    }
    return arguments | {name: value for name, value in given.items() if value is not None}
