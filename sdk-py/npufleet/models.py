"""The model registry: add, list, inspect and remove the models that the fleet serves."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import nats.errors
from nats.js.errors import KeyNotFoundError, NotFoundError, ServiceUnavailableError

from npufleet import model_files
from npufleet.broker import buckets
from npufleet.errors import (
    DeadlineExceededError,
    FleetError,
    InvalidParameterError,
    UnavailableError,
    UnknownModelError,
)
from npufleet.model_info import DEFAULT_MAX_BATCH, ModelInfo, StoredFile, WorkerModel
from npufleet.watch import Watch
from npufleet.wire.subject import check_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

    from npufleet.control import Control
    from npufleet.model_files import Progress

MODELS: Final = str(buckets.MODELS.bucket)
STATUS: Final = str(buckets.STATUS.bucket)
FILES: Final = str(buckets.FILES.bucket)

BATCH_LIMIT: Final = 65536
VERSION_LIMIT: Final = 2**31 - 1
PRECISIONS: Final = ("f32", "f16", "bf16", "i8")
DEVICES: Final = ("NPU", "GPU", "CPU")
QUEUE_DELAY_LIMIT_S: Final = 1.0
WITHDRAW_S: Final = 5.0
ASK_AGAIN_S: Final = 2.0
ANSWER_S: Final = 5.0

Infos = list[ModelInfo]  # a method below is called list


class Models:
    """The registry of one fleet; every method raises `UnavailableError` when the broker has no JetStream."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def add(
        self,
        name: str,
        path: str | Path,
        *,
        version: int | None = None,
        max_batch: int = DEFAULT_MAX_BATCH,
        precision: str | None = None,
        devices: Sequence[str] | None = None,
        max_queue_delay: float = 0.0,
        keep: bool = False,
        timeout: float = 60.0,  # noqa: ASYNC109
        progress: Progress | None = None,
    ) -> ModelInfo:
        """Upload a model, register it, and wait until every live worker serves it or has failed to load it.

        `path` is an ONNX file, or the `.xml` of an OpenVINO IR with its `.bin` beside it. `version` defaults to the
        next free one, `max_batch` counts rows, `max_queue_delay` is in seconds, `progress` is called with the bytes
        sent and the bytes in all. Returns what each worker says.
        Raises `InvalidParameterError` for bad arguments, and with the worker's own words when no worker can load
        the model: it is then removed again unless `keep` is set. Raises `DeadlineExceededError` when workers are
        still loading after `timeout` seconds; the model stays registered.
        """
        check_name("name", name)
        _check("max_batch", max_batch, 1, BATCH_LIMIT)
        _check("max_queue_delay", max_queue_delay, 0, QUEUE_DELAY_LIMIT_S)
        _check_choices("precision", [] if precision is None else [precision], PRECISIONS)
        _check_choices("devices", devices or (), DEVICES)
        kind, files = await asyncio.to_thread(model_files.find, path)
        async with _registry(self._control) as context:
            await buckets.create(context)
            known = {info.version for info in await self._registered(context, name)}
            version = max(known, default=0) + 1 if version is None else version
            _check("version", version, 1, VERSION_LIMIT)
            if version in known:
                raise InvalidParameterError(f"version is {version}; model '{name}' has that version already")
            stored = await _upload(context, f"{name}/{version}", files, progress)
            info = ModelInfo(
                name=name,
                version=version,
                format=kind,
                files=stored,
                max_batch=max_batch,
                precision=precision,
                devices=tuple(devices) if devices else None,
                max_queue_delay_us=round(max_queue_delay * 1e6),
                added=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            )
            await (await context.key_value(MODELS)).create(info.key, info.value())
            info = await self._wait_for_workers(context, info, timeout)
            if info.workers and all(worker.state == "failed" for worker in info.workers):
                if not keep:
                    await self._delete(context, info)
                raise InvalidParameterError(f"no worker can load model '{name}': {_complaints(info)}")
            return info

    async def list(self) -> Infos:
        """Return every registered version of every model, by name and version, with what live workers say."""
        async with _registry(self._control) as context:
            infos = await self._registered(context, None)
            return await self._with_workers(context, infos, None)

    async def info(self, name: str, version: int | None = None) -> ModelInfo:
        """Return one version of a model, the highest by default; raises `UnknownModelError`."""
        check_name("name", name)
        async with _registry(self._control) as context:
            infos = await self._with_workers(context, await self._registered(context, name), name)
            return _pick(infos, name, version)[-1]

    async def remove(self, name: str, version: int | None = None) -> None:
        """Remove a version, or all of a model, and wait until the workers have withdrawn it (at most 5 s).

        Raises `UnknownModelError`.
        """
        check_name("name", name)
        async with _registry(self._control) as context:
            for info in _pick(await self._registered(context, name), name, version):
                await self._delete(context, info)

    async def why_nobody_serves(self, name: str) -> FleetError:
        """Return the error that a caller of a model without a ready worker gets."""
        try:
            info = await self.info(name)
        except UnknownModelError as error:
            return error
        except UnavailableError as error:
            return UnavailableError(f"no worker serves model '{name}', and the registry cannot be asked: {error}")
        if not info.workers:
            return UnavailableError(f"no worker serves model '{name}' version {info.version}: none is there")
        return UnavailableError(f"no worker serves model '{name}' version {info.version}: {_complaints(info)}")

    async def _registered(self, context: JetStreamContext, name: str | None) -> Infos:
        found = await _entries(context, MODELS, f"{name}.*" if name else ">")
        infos = [ModelInfo.parse(value) for value in found.values()]
        return sorted(infos, key=lambda info: (info.name, info.version))

    async def _with_workers(self, context: JetStreamContext, infos: Infos, name: str | None) -> Infos:
        if not infos:
            return []
        alive = await self._alive()
        said = await _entries(context, STATUS, f"{name}.*.*" if name else ">")
        return [replace(info, workers=_workers_of(info, said, alive)) for info in infos]

    async def _wait_for_workers(self, context: JetStreamContext, info: ModelInfo, timeout: float) -> ModelInfo:  # noqa: ASYNC109
        """Watch the status bucket until every live worker has said `ready` or `failed`."""
        bucket = await context.key_value(STATUS)
        watch = await Watch.open(bucket, f"{info.key}.*")
        said: dict[str, bytes] = {}
        alive = await self._alive()
        deadline = time.monotonic() + timeout
        try:
            while True:
                info = replace(info, workers=_workers_of(info, said, alive))
                settled = {worker.worker for worker in info.workers if worker.state != "loading"}
                if alive <= settled:
                    return info
                if time.monotonic() >= deadline:
                    raise DeadlineExceededError(
                        f"model '{info.name}' version {info.version} is registered; "
                        f"{len(alive - settled)} of {len(alive)} workers are still loading it after {timeout:g} s"
                    )
                try:
                    entry = await watch.next(min(ASK_AGAIN_S, deadline - time.monotonic()))
                except TimeoutError:
                    alive = await self._alive()  # one may have died while loading
                    continue
                if entry is not None and entry.value:
                    said[entry.key] = entry.value
        finally:
            await watch.stop()

    async def _alive(self) -> set[str]:
        return {str(answer["id"]) for answer in await self._control.ask_workers("PING")}

    async def _delete(self, context: JetStreamContext, info: ModelInfo) -> None:
        status = await context.key_value(STATUS)
        watch = await Watch.open(status, f"{info.key}.*")
        try:
            await (await context.key_value(MODELS)).delete(info.key)
            store = await context.object_store(FILES)
            for file in info.files:
                try:
                    await store.delete(file.object)
                except NotFoundError:
                    continue  # somebody else removed it first, which is what we want
            await _withdrawn(watch, await self._alive())
        finally:
            await watch.stop()


async def _withdrawn(watch: Watch, alive: set[str]) -> None:
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
async def _registry(control: Control) -> AsyncIterator[JetStreamContext]:
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


async def _upload(
    context: JetStreamContext, folder: str, files: list[model_files.ModelFile], progress: Progress | None
) -> tuple[StoredFile, ...]:
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


async def _entries(context: JetStreamContext, bucket: str, keys: str) -> dict[str, bytes]:
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


def _workers_of(info: ModelInfo, said: dict[str, bytes], alive: set[str]) -> tuple[WorkerModel, ...]:
    found = []
    for key, value in said.items():
        start, _, worker = key.rpartition(".")
        if start == info.key and worker in alive and value:
            found.append(WorkerModel.parse(worker, value))
    return tuple(sorted(found, key=lambda each: (each.engine, each.worker)))


def _pick(infos: Infos, name: str, version: int | None) -> Infos:
    chosen = [info for info in infos if version in (None, info.version)]
    if not infos:
        raise UnknownModelError(f"no model '{name}' is registered")
    if not chosen:
        versions = ", ".join(str(info.version) for info in infos)
        raise UnknownModelError(f"model '{name}' has no version {version}; registered: {versions}")
    return chosen


def _complaints(info: ModelInfo) -> str:
    return "; ".join(
        f"{worker.engine} worker {worker.state}" + (f": {worker.error}" if worker.error else "")
        for worker in info.workers
    )


def _check(field: str, value: float, minimum: float, maximum: float) -> None:
    if isinstance(value, bool) or not minimum <= value <= maximum:
        raise InvalidParameterError(f"{field} is {value!r}; allowed: {minimum:g} to {maximum:.0f}")


def _check_choices(field: str, values: Sequence[str], allowed: tuple[str, ...]) -> None:
    for value in values:
        if value not in allowed:
            raise InvalidParameterError(f"{field} has {value!r}; allowed: {', '.join(allowed)}")
