"""Which models this worker serves: the highest registered version of each, loaded one after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from npufleet.errors import FleetError, InternalError
from npufleet.worker import inference
from npufleet.worker.registry import Registry, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from npufleet.model_info import ModelInfo
    from npufleet.worker.devices import Runtime
    from npufleet.worker.events import Events
    from npufleet.worker.inference import Model
    from npufleet.worker.options import Options

ENGINE: Final = "python"
LOOK_SECONDS: Final = 2.0
"""How long a worker that has just started may need to find the registry."""

_log = logging.getLogger(__name__)


class Models:
    """Follows the registry; `serve` is told about a model that is ready, or None when it is withdrawn."""

    def __init__(
        self,
        registry: Registry,
        runtime: asyncio.Future[Runtime],
        options: Options,
        events: Events,
        serve: Callable[[str, Model | None], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._runtime = runtime
        self._options = options
        self._events = events
        self._serve = serve
        self._registered: dict[str, dict[int, ModelInfo]] = {}
        self._served: dict[str, ModelInfo] = {}
        self._failed: dict[str, ModelInfo] = {}
        self._said: dict[str, tuple[ModelInfo, dict[str, Any]]] = {}
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        self._looked = False
        self._started = time.monotonic()

    async def run(self) -> None:
        """Follow the registry and load what it says, for ever; cancel it to stop."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._registry.follow(self._entry, self._complete))
            group.create_task(self._load_changed())

    def coming(self, name: str) -> bool:
        """Whether a model that is not served may be in a moment: it is registered, and has not failed to load."""
        versions = self._registered.get(name)
        if not versions:
            return not self._looked and time.monotonic() < self._started + LOOK_SECONDS
        wanted = versions[max(versions)]
        return wanted not in (self._served.get(name), self._failed.get(name))

    async def reconnected(self) -> None:
        """Say everything again: the status bucket does not survive a restart of the broker."""
        self._registry.look_again()
        for info, status in list(self._said.values()):
            await self._registry.report(info, status)

    async def withdraw(self) -> None:
        """Take back everything that was said, at the end."""
        for info, _ in list(self._said.values()):
            await self._registry.report(info, None)
        self._said.clear()

    def _entry(self, key: str, value: bytes | None) -> None:
        name, _, version = key.rpartition(".")
        if not version.isdecimal():
            _log.warning("registry key '%s' is none of ours", key)
            return
        versions = self._registered.setdefault(name, {})
        if value is None:
            versions.pop(int(version), None)
        else:
            try:
                versions[int(version)] = parse(key, value)
            except FleetError as error:
                versions.pop(int(version), None)
                _log.warning("%s", error)
        self._changed.put_nowait(name)

    def _complete(self, keys: set[str]) -> None:
        self._looked = True
        for name, versions in self._registered.items():
            gone = [version for version in versions if f"{name}.{version}" not in keys]
            for version in gone:
                del versions[version]
            if gone:
                self._changed.put_nowait(name)

    async def _load_changed(self) -> None:
        while True:
            name = await self._changed.get()
            try:
                await self._settle(name)
            except Exception:  # noqa: BLE001 - a model must not stop the others
                _log.exception("model '%s' could not be settled", name)

    async def _settle(self, name: str) -> None:
        """Make what is served agree with what is registered."""
        versions = self._registered.get(name, {})
        for key, (info, _) in list(self._said.items()):
            if info.name == name and versions.get(info.version) != info:
                del self._said[key]
                await self._registry.report(info, None)
        if not versions:
            self._failed.pop(name, None)
            if self._served.pop(name, None) is not None:
                await self._serve(name, None)
                self._events.emit("model", name=name, version=None, state="removed", device=None, error=None)
            return
        wanted = versions[max(versions)]
        if wanted in (self._served.get(name), self._failed.get(name)):
            return
        await self._load(wanted)

    async def _load(self, info: ModelInfo) -> None:
        await self._say(info, "loading")
        started = time.perf_counter()
        try:
            files = await self._registry.fetch(info)
            runtime = await asyncio.shield(self._runtime)
            model = await asyncio.to_thread(inference.load, runtime, self._settings(info), files)
        except Exception as error:  # noqa: BLE001 - whatever OpenVINO raises, its text is what the owner needs
            typed = error if isinstance(error, FleetError) else InternalError(f"{type(error).__name__}: {error}")
            self._failed[info.name] = info
            await self._say(info, "failed", error=str(typed))
            return
        milliseconds = (time.perf_counter() - started) * 1e3
        replaced = self._served.get(info.name)
        # First the new one serves, then it is announced, then the old one's word is taken back.
        await self._serve(info.name, model)
        self._served[info.name] = info
        self._failed.pop(info.name, None)
        await self._say(info, "ready", model=model, milliseconds=milliseconds)
        if replaced is not None and replaced.key != info.key and self._said.pop(replaced.key, None) is not None:
            await self._registry.report(replaced, None)

    def _settings(self, info: ModelInfo) -> inference.ModelSettings:
        return inference.ModelSettings(
            name=info.name,
            version=info.version,
            devices=info.devices or self._options.devices,
            max_batch=info.max_batch,
            precision=info.precision,
            max_delay=info.max_queue_delay_us / 1e6,
            threads=self._options.threads,
            cache_dir=self._options.cache_dir,
            digest=info.files[0].sha256[:32],
        )

    async def _say(
        self,
        info: ModelInfo,
        state: str,
        *,
        error: str | None = None,
        model: Model | None = None,
        milliseconds: float | None = None,
    ) -> None:
        device = model.device if model else None
        status = {
            "state": state,
            "engine": ENGINE,
            "device": device,
            "error": error,
            "load_ms": milliseconds,
            "inputs": [port.describe() for port in model.inputs] if model else [],
            "outputs": [port.describe() for port in model.outputs] if model else [],
        }
        self._said[info.key] = info, status
        # In this order: who hears the event finds the status.
        await self._registry.report(info, status)
        self._events.emit("model", name=info.name, version=info.version, state=state, device=device, error=error)
