"""Fetches frames from the arenas of other processes."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from npufleet.errors import PayloadLostError, PayloadTooLargeError
from npufleet.payload.channel.connection import LostError, RefusedError
from npufleet.payload.channel.incoming import Incoming
from npufleet.payload.channel.message import PATIENCE_LIMIT_US, Release
from npufleet.payload.channel.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from npufleet.payload.channel.address import Address
    from npufleet.wire.claim import Claim

ATTEMPTS: Final = 3
"""Connections that are tried for one frame; each goes on where the one before was lost."""


class Asker:
    """The asking side of the channel, for any number of threads; end it with `close` or as a context manager."""

    def __init__(self) -> None:
        self._pool = Pool()

    def fetch(
        self,
        address: Address,
        claim: Claim,
        *,
        limit: int,
        timeout: float,
        release: bool = False,
        wanted: Callable[[], bool] = lambda: True,
    ) -> memoryview:
        """Fetch a frame of at most `limit` bytes within `timeout` seconds; blocks until it is there.

        The view is read-only and aligned for tensors. With `release` the owner is told that it may use the slot again.
        `wanted` is asked now and then; where it says no, `CallCancelledError` ends the fetching.
        Raises `PayloadLostError` when the owner does not have it any more, is gone or cannot be reached,
        `InvalidFrameError` when there can be no such frame, `PayloadTooLargeError`, `DeadlineExceededError`,
        `OverloadedError`, `UnsupportedError` when the address wants CURVE and libzmq has none.
        """
        if claim.length > limit:
            raise PayloadTooLargeError.of(claim.length, limit)
        deadline = time.monotonic() + min(timeout, PATIENCE_LIMIT_US / 1e6)
        incoming = Incoming(claim.length)
        with self._pool.place(deadline):
            for _ in range(ATTEMPTS):
                if self._try(address, claim, incoming, deadline, wanted, release=release):
                    return incoming.finish()
        raise PayloadLostError(f"no frame from {address.endpoint}: {ATTEMPTS} connections were lost")

    def _try(
        self,
        address: Address,
        claim: Claim,
        incoming: Incoming,
        deadline: float,
        wanted: Callable[[], bool],
        *,
        release: bool,
    ) -> bool:
        """Go on over one connection; False when it was lost."""
        connection = self._pool.take(address)
        try:
            connection.fetch(claim, incoming, deadline, wanted)
            if release:
                with contextlib.suppress(LostError, PayloadLostError):
                    connection.say(_release(claim))
        except LostError:
            connection.close()
            self._pool.forget(address)
            return False
        except RefusedError as refused:
            self._pool.keep(connection)
            raise refused.cause from None
        except BaseException:
            connection.stop()
            connection.close()
            raise
        self._pool.keep(connection)
        return True

    def release(self, address: Address, claim: Claim) -> None:
        """Tell an owner that it may use a frame's slot again; when that does not arrive, the slot's lease ends it.

        Raises `OverloadedError` without descriptors, `UnsupportedError` as `fetch`.
        """
        with self._pool.place(time.monotonic()):
            connection = self._pool.take(address)
            try:
                connection.say(_release(claim))
            except (LostError, PayloadLostError):
                connection.close()
                return
            self._pool.keep(connection)

    def close(self) -> None:
        """Close the connections that wait for another transfer."""
        self._pool.close()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _release(claim: Claim) -> Release:
    return Release(claim.arena, claim.slot, claim.generation)
