"""The model registry: add, list, inspect and remove the models that the fleet serves."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from nats.js.errors import NotFoundError

from npufleet import model_files, model_policy, model_ports
from npufleet.broker import buckets
from npufleet.errors import (
    DeadlineExceededError,
    FleetError,
    InvalidParameterError,
    InvalidShapeError,
    UnavailableError,
    UnknownModelError,
)
from npufleet.model_info import DEFAULT_MAX_BATCH, HINTS, INSTANCES_LIMIT, ModelInfo, WorkerModel, check_number
from npufleet.model_policy import VERSION_LIMIT
from npufleet.model_registry import FILES, MODELS, STATUS, connected, entries, upload, withdrawn
from npufleet.watch import Watch
from npufleet.wire.subject import check_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from nats.js import JetStreamContext

    from npufleet.control import Control
    from npufleet.model_benchmark import Benchmark
    from npufleet.model_files import Progress
    from npufleet.result import Result

    Call = Callable[..., Awaitable[Result]]

BATCH_LIMIT: Final = 65536
PRECISIONS: Final = ("f32", "f16", "bf16", "i8")
DEVICES: Final = ("NPU", "GPU", "CPU")
QUEUE_DELAY_LIMIT_S: Final = 1.0
ASK_AGAIN_S: Final = 2.0
ANSWER_S: Final = 5.0

Infos = list[ModelInfo]  # a method below is called list


class Models:
    """The registry of one fleet; every method raises `UnavailableError` when the broker has no JetStream."""

    def __init__(self, control: Control, call: Call) -> None:
        self._control = control
        self._call = call
        self._known: dict[str, Infos] = {}
        """What was last heard of the models that were asked about."""

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
        instances: int | None = None,
        performance_hint: str | None = None,
        keep: bool = False,
        timeout: float = 60.0,  # noqa: ASYNC109
        progress: Progress | None = None,
    ) -> ModelInfo:
        """Upload a model, register it, and wait until every live worker serves it or has failed to load it.

        `path` is an ONNX file, or the `.xml` of an OpenVINO IR with its `.bin` beside it. `version` defaults to the
        next free one, `max_batch` counts rows, `max_queue_delay` is in seconds. `instances` is how many inferences a
        worker runs side by side, `performance_hint` is `latency` or `throughput`; by default a worker measures.
        `progress` is called with the bytes sent and the bytes in all. Returns what each worker says; of a version that
        the model's policy does not pick (see `serve`) no worker says anything.
        Raises `InvalidParameterError` for bad arguments, and with the worker's own words when no worker can load
        the model: it is then removed again unless `keep` is set. Raises `DeadlineExceededError` when workers are
        still loading after `timeout` seconds; the model stays registered.
        """
        check_name("name", name)
        check_number("max_batch", max_batch, 1, BATCH_LIMIT)
        check_number("max_queue_delay", max_queue_delay, 0, QUEUE_DELAY_LIMIT_S)
        _check_choices("precision", [] if precision is None else [precision], PRECISIONS)
        _check_choices("devices", devices or (), DEVICES)
        _check_choices("performance_hint", [] if performance_hint is None else [performance_hint], HINTS)
        if instances is not None:
            check_number("instances", instances, 1, INSTANCES_LIMIT)
        kind, files = await asyncio.to_thread(model_files.find, path)
        async with connected(self._control) as context:
            await buckets.create(context)
            known = {info.version for info in await self._registered(context, name)}
            version = max(known, default=0) + 1 if version is None else version
            check_number("version", version, 1, VERSION_LIMIT)
            if version in known:
                raise InvalidParameterError(f"version is {version}; model '{name}' has that version already")
            stored = await upload(context, f"{name}/{version}", files, progress)
            info = ModelInfo(
                name=name,
                version=version,
                format=kind,
                files=stored,
                max_batch=max_batch,
                precision=precision,
                devices=tuple(devices) if devices else None,
                max_queue_delay_us=round(max_queue_delay * 1e6),
                instances=instances,
                performance_hint=performance_hint,
                added=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            )
            await (await context.key_value(MODELS)).create(info.key, info.value())
            info = replace(info, policy=await _policy(context, name))
            if version not in model_policy.pick(info.policy, known | {version}):
                return info
            info = await self._wait_for_workers(context, info, timeout)
            self._known.pop(name, None)
            if info.ready and info.version == max(known | {version}):
                self._known[name] = [info]
            if info.workers and all(worker.state == "failed" for worker in info.workers):
                if not keep:
                    await self._delete(context, info)
                raise InvalidParameterError(f"no worker can load model '{name}': {_complaints(info)}")
            return info

    async def serve(
        self,
        name: str,
        versions: str | Sequence[int],
        *,
        timeout: float = 60.0,  # noqa: ASYNC109
    ) -> Infos:
        """Choose which versions of a model are served, and wait until every live worker has followed.

        `versions` is `latest` (what a model begins with), `all`, or the versions to pin; a call that names none gets
        the highest. What is no longer chosen is withdrawn once what is chosen serves. Returns all registered versions.
        Raises `InvalidParameterError`, `UnknownModelError` (also for a pinned version that is not registered), and
        `DeadlineExceededError` when workers are still loading after `timeout` seconds; the choice stays.
        """
        check_name("name", name)
        policy = model_policy.check(versions)
        async with connected(self._control) as context:
            infos = _pick(await self._registered(context, name), name, None)
            for version in () if isinstance(policy, str) else policy:
                _pick(infos, name, version)
            await (await context.key_value(MODELS)).put(f"{name}.{model_policy.KEY}", model_policy.encode(policy))
            chosen = model_policy.pick(policy, [info.version for info in infos])
            deadline = time.monotonic() + timeout
            for info in infos:
                if info.version in chosen:
                    await self._wait_for_workers(context, info, deadline - time.monotonic())
            for info in infos:
                if info.version not in chosen:
                    await self._wait_until_withdrawn(context, info)
            return await self._with_workers(context, await self._registered(context, name), name)

    async def list(self) -> Infos:
        """Return every registered version of every model, by name and version, with what live workers say."""
        async with connected(self._control) as context:
            infos = await self._registered(context, None)
            return await self._with_workers(context, infos, None)

    async def info(self, name: str, version: int | None = None) -> ModelInfo:
        """Return one version of a model, the highest by default; raises `UnknownModelError`."""
        check_name("name", name)
        async with connected(self._control) as context:
            infos = await self._with_workers(context, await self._registered(context, name), name)
            return _pick(infos, name, version)[-1]

    async def remove(self, name: str, version: int | None = None) -> None:
        """Remove a version, or all of a model, and wait until the workers have withdrawn it (at most 5 s).

        Raises `UnknownModelError`.
        """
        check_name("name", name)
        async with connected(self._control) as context:
            infos = await self._registered(context, name)
            chosen = _pick(infos, name, version)
            self._known.pop(name, None)
            for info in chosen:
                await self._delete(context, info)
            if len(chosen) == len(infos):
                await (await context.key_value(MODELS)).delete(f"{name}.{model_policy.KEY}")

    async def benchmark(
        self,
        name: str,
        *,
        version: int | None = None,
        batch_size: int = 1,
        requests: int = 8,
        seconds: float = 5.0,
        shapes: Mapping[str, Sequence[int]] | None = None,
        inputs: Mapping[str, object] | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109
    ) -> Benchmark:
        """Measure how fast a model is served: `requests` calls at a time for some seconds, each of `batch_size` rows.

        The calls are ordinary ones through the fleet. They carry `inputs`, or else made-up values in the shapes that
        the workers tell; `shapes` says those of inputs with other open dimensions than the first. `timeout` is that of
        a call. Raises `InvalidParameterError`, `UnknownModelError`, `UnavailableError`, and the first error of a call.
        """
        from npufleet import model_benchmark

        info = await self.info(name, version)
        params = None if version is None else {"version": version}
        if version is None:
            served = [each for each in await self.list() if each.name == name and each.ready]
            info = served[-1] if served else info
        return await model_benchmark.run(
            info,
            lambda tensors: self._call("infer", tensors, params, model=name, timeout=timeout),
            batch_size=batch_size,
            requests=requests,
            seconds=seconds,
            shapes=shapes or {},
            inputs=inputs,
        )

    async def check_inputs(self, name: str, tensors: object, version: object) -> None:
        """Refuse a request that a model does not take, if the workers have told what it takes; calls do this first.

        What was heard may have changed: it is asked for again before anything is refused. Raises `InvalidShapeError`.
        """
        if self._misfit(name, tensors, version) is None:
            return
        try:
            await self.info(name)
        except (UnavailableError, UnknownModelError):
            return  # the caller hears from whoever answers, or why nobody does
        if (problem := self._misfit(name, tensors, version)) is not None:
            raise InvalidShapeError(problem)

    def _misfit(self, name: str, tensors: object, version: object) -> str | None:
        ready = [info for info in self._known.get(name, ()) if info.ready and version in (None, info.version)]
        return model_ports.misfit(ready[-1], tensors) if ready else None

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
        found = await entries(context, MODELS, f"{name}.*" if name else ">")
        end = f".{model_policy.KEY}"
        policies = {key.removesuffix(end): key for key in found if key.endswith(end)}
        read = {model: model_policy.parse(key, found.pop(key)) for model, key in policies.items()}
        infos = [ModelInfo.parse(value) for value in found.values()]
        infos = [replace(info, policy=read.get(info.name, info.policy)) for info in infos]
        return sorted(infos, key=lambda info: (info.name, info.version))

    async def _with_workers(self, context: JetStreamContext, infos: Infos, name: str | None) -> Infos:
        if not infos:
            return []
        alive = await self._alive()
        said = await entries(context, STATUS, f"{name}.*.*" if name else ">")
        infos = [replace(info, workers=_workers_of(info, said, alive)) for info in infos]
        self._known |= {info.name: [each for each in infos if each.name == info.name] for info in infos}
        return infos

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

    async def _wait_until_withdrawn(self, context: JetStreamContext, info: ModelInfo) -> None:
        watch = await Watch.open(await context.key_value(STATUS), f"{info.key}.*")
        try:
            await withdrawn(watch, await self._alive())
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
            await withdrawn(watch, await self._alive())
        finally:
            await watch.stop()


async def _policy(context: JetStreamContext, name: str) -> model_policy.Policy:
    key = f"{name}.{model_policy.KEY}"
    value = (await entries(context, MODELS, key)).get(key)
    return model_policy.LATEST if value is None else model_policy.parse(key, value)


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


def _check_choices(field: str, values: Sequence[str], allowed: tuple[str, ...]) -> None:
    for value in values:
        if value not in allowed:
            raise InvalidParameterError(f"{field} has {value!r}; allowed: {', '.join(allowed)}")
