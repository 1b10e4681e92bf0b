"""A watch on keys of a JetStream bucket, with types and with Python's own `TimeoutError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nats.errors

if TYPE_CHECKING:
    from nats.js.kv import KeyValue


class Watch:
    """The values that the keys have now, then None once, then every change."""

    def __init__(self, watcher: KeyValue.KeyWatcher) -> None:
        self._watcher = watcher

    @classmethod
    async def open(cls, bucket: KeyValue, keys: str) -> Watch:
        """Watch the keys that match a pattern such as `name.*`."""
        return cls(await bucket.watch(keys))

    async def next(self, timeout: float) -> KeyValue.Entry | None:  # noqa: ASYNC109
        """Return the next entry, or None after the last present value; raises `TimeoutError` after `timeout` s."""
        try:
            entry: KeyValue.Entry | None = await self._watcher.updates(max(timeout, 0.001))  # type: ignore[no-untyped-call]
        except nats.errors.TimeoutError as error:
            raise TimeoutError(f"no change within {timeout:g} s") from error
        return entry

    async def stop(self) -> None:
        """Stop watching."""
        await self._watcher.stop()  # type: ignore[no-untyped-call]
