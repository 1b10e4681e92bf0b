"""One delivered job: what its acknowledgement subject says, and the answers that the broker can get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import nats.errors

from npufleet.errors import UnavailableError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from npufleet.worker.request import Request

ANSWER_S: Final = 5.0
_OLD_TOKENS: Final = 9


@dataclass(slots=True, eq=False)
class Delivery:
    """A message of the stream JOBS while this worker has it.

    `delivered` counts its deliveries, this one included; `sequence` is its place in the stream; `pending` is how many
    more wait for the same consumer. `attempt` counts over hand-overs too; `told` is the progress that was told last;
    `over` says that the broker will not deliver it again.
    """

    client: Client
    message: Msg
    consumer: str
    delivered: int
    sequence: int
    pending: int
    headers: dict[str, str]
    job_id: str = ""
    request: Request | None = None
    cancelled: bool = False
    attempt: int = 0
    told: float = 0.0
    over: bool = False

    @classmethod
    def of(cls, client: Client, message: Msg) -> Delivery:
        """Read the acknowledgement subject, in the server's old form or its new one.

        `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`, in the new form with
        a domain and an account hash after `ACK` and perhaps one more token at the end.
        """
        tokens = message.reply.split(".")
        if len(tokens) > _OLD_TOKENS:
            del tokens[2:4]
        return cls(
            client=client,
            message=message,
            consumer=tokens[3],
            delivered=int(tokens[4]),
            sequence=int(tokens[5]),
            pending=int(tokens[8]),
            headers=dict(message.headers or {}),
        )

    async def acknowledge(self) -> None:
        """Say that the job is over and wait until the broker knows; raises `UnavailableError` when it is silent."""
        await self._confirmed(b"+ACK")

    async def terminate(self) -> None:
        """The same for a job that has failed for good."""
        await self._confirmed(b"+TERM")

    async def give_back(self, seconds: float = 0.0) -> None:
        """Let the broker deliver the job again, to anybody, after so many seconds."""
        await self.client.publish(self.message.reply, b'-NAK {"delay": %d}' % round(seconds * 1e9))

    async def keep(self) -> None:
        """Say that the work goes on: the broker waits for another `ack_wait`."""
        await self.client.publish(self.message.reply, b"+WPI")

    async def _confirmed(self, word: bytes) -> None:
        try:
            await self.client.request(self.message.reply, word, timeout=ANSWER_S)
        except (nats.errors.Error, OSError) as error:
            raise UnavailableError(f"an acknowledgement is not confirmed: {error or type(error).__name__}") from error
        self.over = True
