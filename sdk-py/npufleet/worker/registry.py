"""The registry's buckets as a worker uses them: follow what is registered, fetch files, report states."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import re
from typing import TYPE_CHECKING, Any, Final

import nats.errors
from nats.js.errors import BucketNotFoundError, NotFoundError, ServiceUnavailableError

from npufleet.broker import buckets
from npufleet.errors import FleetError, InternalError, InvalidParameterError, UnavailableError
from npufleet.model_info import HINTS, INSTANCES_LIMIT, ModelInfo
from npufleet.wire.subject import check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

FILES: Final = {"onnx": ("model.onnx",), "ir": ("model.xml", "model.bin")}
"""The files of each model format, by the names that the registry gives them."""

FOLLOW_SECONDS: Final = 30.0
"""How long to believe a watch that says nothing before it is opened again: its consumer may be gone."""

FORGET_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 60.0
FETCH_BYTES_PER_SECOND: Final = 1_000_000
BACK_OFF: Final = (0.05, 2.0)

_log = logging.getLogger(__name__)
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ERRORS: Final = (nats.errors.Error, OSError, asyncio.TimeoutError)


class Registry:
    """The three buckets of the model registry, which may appear, vanish and come back at any time."""

    def __init__(self, context: JetStreamContext, worker_id: str) -> None:
        self._context = context
        self._worker_id = worker_id
        self._complaint = ""
        self._watching: asyncio.Task[None] | None = None

    async def follow(self, changed: Callable[[str, bytes | None], None], known: Callable[[set[str]], None]) -> None:
        """Call `changed` with each key and its value, None when removed, for ever; cancel it to stop.

        `known` is called with all keys that there are once that is known, at the start and whenever the watch was
        opened anew. Without JetStream or the bucket it asks again, ever more rarely down to every 2 seconds.
        """
        delay, longest = BACK_OFF
        while True:
            self._watching = asyncio.ensure_future(self._watch(changed, known))
            try:
                await asyncio.wait({self._watching})
            finally:
                self._watching.cancel()
                await asyncio.gather(self._watching, return_exceptions=True)
            if self._watching.cancelled():
                continue
            error = self._watching.exception()
            if error is None:
                delay = BACK_OFF[0]
                continue
            if not isinstance(error, _ERRORS):
                raise error
            self._complain(error)
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest)

    def look_again(self) -> None:
        """Open the watch anew, after the connection was lost and found."""
        if self._watching is not None:
            self._watching.cancel()

    async def fetch(self, info: ModelInfo) -> dict[str, bytes]:
        """Return a model's files by name, checked against the registry's sizes and sha256.

        They are kept in memory: a worker that is killed leaves no files behind.
        Raises `InternalError` when a file is not what the registry says.
        """
        try:
            store = await self._context.object_store(buckets.FILES_BUCKET)
            return {file.name: await self._fetch_one(store, file) for file in info.files}
        except NotFoundError as error:
            raise InternalError(f"model '{info.name}' version {info.version} lacks a file in the store") from error
        except _ERRORS as error:
            raise UnavailableError(f"files of model '{info.name}' cannot be fetched: {error or repr(error)}") from error

    @staticmethod
    async def _fetch_one(store: Any, file: Any) -> bytes:
        buffer = io.BytesIO()
        async with asyncio.timeout(FETCH_SECONDS + file.size / FETCH_BYTES_PER_SECOND):
            await store.get(file.object, writeinto=buffer)
        content = buffer.getvalue()
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if len(content) != file.size or digest != file.sha256:
            raise InternalError(
                f"file '{file.name}' is {len(content)} bytes with sha256 {digest}; "
                f"registered: {file.size} bytes with sha256 {file.sha256}"
            )
        return content

    async def report(self, info: ModelInfo, status: dict[str, Any] | None) -> None:
        """Write what this worker says about a model version, or withdraw it; a failure to do so is only logged."""
        key = f"{info.key}.{self._worker_id}"
        try:
            bucket: KeyValue = await self._context.key_value(buckets.STATUS.bucket)
            if status is None:
                await bucket.delete(key)
            else:
                await bucket.put(key, json.dumps(status).encode())
        except _ERRORS as error:
            _log.warning("status of model %s could not be written: %s", info.key, error or repr(error))

    async def _watch(self, changed: Callable[[str, bytes | None], None], known: Callable[[set[str]], None]) -> None:
        bucket = await self._context.key_value(buckets.MODELS.bucket)
        # The broker forgets a watch that we left soon, for one is left every time it is opened anew.
        watcher = await bucket.watchall(inactive_threshold=FORGET_SECONDS)
        keys: set[str] | None = set()
        try:
            while True:
                entry = await watcher.updates(timeout=FOLLOW_SECONDS)  # type: ignore[no-untyped-call]
                if entry is None:
                    known(keys or set())
                    keys = None
                    self._complaint = ""
                    continue
                gone = entry.operation is not None
                if keys is not None and not gone:
                    keys.add(entry.key)
                changed(entry.key, None if gone else entry.value)
        except nats.errors.TimeoutError:
            return
        finally:
            try:
                await watcher.stop()  # type: ignore[no-untyped-call]
            except _ERRORS as error:
                _log.debug("watch of the model registry: %s", error or repr(error))

    def _complain(self, error: BaseException) -> None:
        missing = isinstance(error, BucketNotFoundError)
        absent = isinstance(error, ServiceUnavailableError | nats.errors.NoRespondersError)
        reason = "no bucket yet" if missing else "the broker has no JetStream" if absent else str(error) or repr(error)
        if reason != self._complaint:
            # Said once, not every two seconds; everything but `infer` goes on meanwhile.
            _log.log(logging.INFO if missing else logging.WARNING, "no model registry: %s", reason)
            self._complaint = reason


def parse(key: str, value: bytes) -> ModelInfo:
    """Return a registry entry, or raise `InvalidParameterError`: what stands there may be anybody's."""
    try:
        info = ModelInfo.parse(value)
        check_name("model", info.name)
        wrong = (
            f"key is '{key}'; the entry says {info.key}"
            if info.key != key
            else f"format is '{info.format}'; allowed: {', '.join(FILES)}"
            if info.format not in FILES
            else f"files are {[file.name for file in info.files]}; allowed: {', '.join(FILES[info.format])}"
            if sorted(file.name for file in info.files) != sorted(FILES[info.format])
            else ""
        )
        if not wrong:
            for file in info.files:
                if not _FILE_NAME.fullmatch(file.name) or not isinstance(file.object, str) or file.size < 0:
                    wrong = f"file '{file.name}' has no valid object and size"
            if info.instances is not None and not 1 <= info.instances <= INSTANCES_LIMIT:
                wrong = f"instances is {info.instances}; allowed: 1 to {INSTANCES_LIMIT}"
            if info.performance_hint not in (None, *HINTS):
                wrong = f"performance_hint is '{info.performance_hint}'; allowed: {', '.join(HINTS)}"
            if not 1 <= info.max_batch <= 1 << 20:
                wrong = f"max_batch is {info.max_batch}; allowed: 1 to {1 << 20}"
    except (FleetError, ValueError, TypeError, AttributeError) as error:
        raise InvalidParameterError(f"registry entry '{key}' cannot be read: {error}") from error
    if wrong:
        raise InvalidParameterError(f"registry entry '{key}': {wrong}")
    return info
