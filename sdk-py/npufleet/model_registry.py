"""The registry's buckets as programs use them: entries, files, and the time workers take to follow."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import nats.errors
from nats.js.errors import KeyNotFoundError, NotFoundError, ServiceUnavailableError

from npufleet import model_files
from npufleet.broker import buckets
from npufleet.errors import FleetError, UnavailableError
from npufleet.model_info import StoredFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

    from npufleet.control import Control
    from npufleet.model_files import Progress
    from npufleet.watch import Watch

MODELS: Final = str(buckets.MODELS.bucket)
STATUS: Final = str(buckets.STATUS.bucket)
FILES: Final = str(buckets.FILES.bucket)
WITHDRAW_S: Final = 5.0


async def withdrawn(watch: Watch, alive: set[str]) -> None:
    """Wait until no live worker has a status of the model any more; a worker that is stuck is not waited for."""
    serving: set[str] = set()
    initial = True
    deadline = time.monotonic() + WITHDRAW_S
    while initial or serving & alive:
        try:
            entry = await watch.next(deadline - time.monotonic())
        except TimeoutError:
            return
        if entry is None:
            initial = False
            continue
        worker = entry.key.rpartition(".")[2]
        if entry.operation is None:
            serving.add(worker)
        else:
            serving.discard(worker)


@asynccontextmanager
async def connected(control: Control) -> AsyncIterator[JetStreamContext]:
    """Give the JetStream context, and turn what nats-py raises into `UnavailableError`."""
    context = await control.jetstream()
    try:
        yield context
    except FleetError:
        raise  # some are OSErrors too
    except (ServiceUnavailableError, nats.errors.NoRespondersError) as error:
        raise UnavailableError("the broker has no JetStream, so it has no model registry") from error
    except (nats.errors.Error, OSError) as error:
        raise UnavailableError(f"the model registry cannot be reached: {error or type(error).__name__}") from error


async def upload(
    context: JetStreamContext, folder: str, files: list[model_files.ModelFile], progress: Progress | None
) -> tuple[StoredFile, ...]:
    """Store the files of a model below `folder` and return them as the registry names them."""
    store = await context.object_store(FILES)
    total = sum(file.size for file in files)
    stored: list[StoredFile] = []
    loop = asyncio.get_running_loop()

    # The store reads on a thread; whoever listens to the progress is called on the loop.
    def done(sent: int, total: int) -> None:
        if progress is not None:
            loop.call_soon_threadsafe(progress, sent, total)

    for file in files:
        name = f"{folder}/{file.name}"
        before = sum(each.size for each in stored)
        with model_files.Upload(file, done, before, total) as upload:
            await store.put(name, upload)
            stored.append(StoredFile(file.name, name, upload.size, upload.sha256))
    return tuple(stored)


async def entries(context: JetStreamContext, bucket: str, keys: str) -> dict[str, bytes]:
    """Return the values of all keys that match, by key; none where the bucket is missing.

    Stream information and direct gets do it, since a client of a shared broker may not create consumers.
    """
    prefix = f"$KV.{bucket}."
    try:
        store = await context.key_value(bucket)
        info = await context.stream_info(f"KV_{bucket}", subjects_filter=prefix + keys)
    except NotFoundError:
        return {}
    names = [subject.removeprefix(prefix) for subject in info.state.subjects or ()]
    values = await asyncio.gather(*(_entry(store, name) for name in names))
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


async def _entry(bucket: KeyValue, key: str) -> bytes | None:
    try:
        return (await bucket.get(key)).value
    except KeyNotFoundError:
        return None  # deleted: its subject stays
