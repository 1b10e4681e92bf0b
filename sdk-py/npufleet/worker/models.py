"""Which models this worker serves: the versions that each one's policy picks, loaded one after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from npufleet import model_policy
from npufleet.errors import FleetError, InternalError
from npufleet.worker import inference, memory
from npufleet.worker.budget import Budget
from npufleet.worker.lost import LostDevices
from npufleet.worker.registry import Registry, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from npufleet.model_info import ModelInfo
    from npufleet.worker.devices import Runtime
    from npufleet.worker.events import Events
    from npufleet.worker.inference import Model
    from npufleet.worker.options import Options

    Serve = Callable[[str, Mapping[int, Model]], Awaitable[None]]
    Served = dict[int, tuple[ModelInfo, Model]]

ENGINE: Final = "python"
LOOK_SECONDS: Final = 2.0
"""How long a worker that has just started may need to find the registry."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Registered:
    """What the registry says about a model: its versions, and which of them are served."""

    versions: dict[int, ModelInfo] = field(default_factory=dict)
    policy: model_policy.Policy = model_policy.LATEST

    def wanted(self) -> list[ModelInfo]:
        """Return the versions to serve, the highest first: it is what most callers wait for."""
        return [self.versions[version] for version in model_policy.pick(self.policy, self.versions)]


class Models:
    """Follows the registry and the devices; `serve` is told the versions of a model that are ready, none at its end.

    `device_failed` is told the name of a model and the device that failed under it.

    A model whose device fails moves to the next one; the device is tried again later.
    """

    def __init__(
        self,
        registry: Registry,
        runtime: asyncio.Future[Runtime],
        options: Options,
        events: Events,
        serve: Serve,
        devices_changed: Callable[[], None],
        device_failed: Callable[[str, str], None],
    ) -> None:
        self._registry = registry
        self._runtime = runtime
        self._options = options
        self._events = events
        self._serve = serve
        self._devices_changed = devices_changed
        self._device_failed = device_failed
        self._budget = Budget(options.threads)
        self.lost = LostDevices(options.device_retry)
        self._registered: dict[str, Registered] = {}
        self._served: dict[str, Served] = {}
        self._failed: dict[str, ModelInfo] = {}
        self._said: dict[str, tuple[ModelInfo, dict[str, Any]]] = {}
        self._changed: asyncio.Queue[str | tuple[Model, str]] = asyncio.Queue()
        self._looked = False
        self._started = time.monotonic()

    async def run(self) -> None:
        """Follow the registry and load what it says, for ever; cancel it to stop."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._registry.follow(self._entry, self._complete))
            group.create_task(self._work())

    def coming(self, name: str) -> bool:
        """Whether a model that is not served may be in a moment: it is registered, and has not failed to load."""
        registered = self._registered.get(name)
        if registered is None or not registered.versions:
            return not self._looked and time.monotonic() < self._started + LOOK_SECONDS
        return any(self._is_new(info) for info in self._wanted(registered))

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

    def _is_new(self, info: ModelInfo) -> bool:
        served = self._served.get(info.name, {}).get(info.version)
        return (served is None or served[0] != info) and self._failed.get(info.key) != info

    def _entry(self, key: str, value: bytes | None) -> None:
        name, _, part = key.rpartition(".")
        if part != model_policy.KEY and not part.isdecimal():
            _log.warning("registry key '%s' is none of ours", key)
            return
        registered = self._registered.setdefault(name, Registered())
        try:
            if part == model_policy.KEY:
                registered.policy = model_policy.LATEST if value is None else model_policy.parse(key, value)
            elif value is None:
                registered.versions.pop(int(part), None)
            else:
                registered.versions[int(part)] = parse(key, value)
        except FleetError as error:
            if part != model_policy.KEY:
                registered.versions.pop(int(part), None)
            _log.warning("%s", error)
        self._changed.put_nowait(name)

    def _complete(self, keys: set[str]) -> None:
        self._looked = True
        for name, registered in self._registered.items():
            gone = [version for version in registered.versions if f"{name}.{version}" not in keys]
            for version in gone:
                del registered.versions[version]
            if f"{name}.{model_policy.KEY}" not in keys:
                registered.policy = model_policy.LATEST
            self._changed.put_nowait(name)

    async def _work(self) -> None:
        while True:
            try:
                changed = await asyncio.wait_for(self._changed.get(), self.lost.next_due())
            except TimeoutError:
                changed = None
            try:
                if isinstance(changed, str):
                    await self._settle(changed)
                elif changed is not None:
                    await self._move(*changed)
                await self._try_again()
                changed = None
                # What is served no longer has left memory, unless a request still uses it.
                await asyncio.to_thread(memory.give_back)
            except Exception:  # noqa: BLE001 - a model must not stop the others
                _log.exception("%s could not be settled", changed or "a lost device")

    async def _settle(self, name: str) -> None:
        """Make what is served agree with what is registered."""
        registered = self._registered.get(name, Registered())
        versions = registered.versions
        for key, info in list(self._failed.items()):
            if info.name == name and versions.get(info.version) != info:
                del self._failed[key]
        # What does not load is as good as not registered: of two versions the older one is then the latest.
        while new := [info for info in self._wanted(registered) if self._is_new(info)]:
            await self._load(new[0])
        wanted = self._wanted(registered)
        served = self._served.get(name, {})
        kept = {version: each for version, each in served.items() if each[0] in wanted}
        if not wanted and registered.wanted():
            # Nothing of what was to take over loads: one before goes on serving, while it is registered.
            standing = [version for version, (info, _) in served.items() if versions.get(version) == info]
            kept = {version: served[version] for version in sorted(standing)[-1:]}
        await self._keep(name, kept)
        # Only now, so that whoever hears it finds what is served instead.
        for key, (info, _) in list(self._said.items()):
            if info.name == name and versions.get(info.version) != info:
                await self._unsay(key)
        if not versions and registered.policy == model_policy.LATEST:
            self._registered.pop(name, None)

    def _wanted(self, registered: Registered) -> list[ModelInfo]:
        loadable = {
            version: info for version, info in registered.versions.items() if self._failed.get(info.key) != info
        }
        return Registered(loadable, registered.policy).wanted()

    async def _keep(self, name: str, kept: Served) -> None:
        """Stop serving other versions, now that these have come up, so that no caller finds a gap."""
        gone = {version: each[0] for version, each in self._served.get(name, {}).items() if version not in kept}
        if not gone:
            return
        await self._now(name, kept)
        for version, info in gone.items():
            if info.key not in self._failed:
                await self._unsay(info.key)
            if not kept:
                self._events.emit("model", name=name, version=version, state="removed", device=None, error=None)

    async def _now(self, name: str, served: Served) -> None:
        """Serve these versions of a model."""
        await self._serve(name, {version: model for version, (_, model) in served.items()})
        if served:
            self._served[name] = served
        else:
            self._served.pop(name, None)

    async def _load(self, info: ModelInfo) -> Model | None:
        """Load a version and serve it; what is served meanwhile stays."""
        await self._say(info, "loading")
        started = time.perf_counter()
        try:
            model = await self._compiled(info, self.lost.without(info.devices or self._options.devices))
        except FleetError as error:
            self._failed[info.key] = info
            await self._say(info, "failed", error=str(error))
            return None
        await self._take_over(info, model, started)
        return model

    async def _compiled(self, info: ModelInfo, devices: tuple[str, ...]) -> Model:
        try:
            files = await self._registry.fetch(info)
            runtime = await asyncio.shield(self._runtime)
            settings = self._settings(info, devices)
            return await asyncio.to_thread(inference.load, runtime, settings, files, self._device_lost)
        except FleetError:
            raise
        except Exception as error:
            raise InternalError(f"{type(error).__name__}: {error}") from error

    async def _take_over(self, info: ModelInfo, model: Model, started: float) -> None:
        milliseconds = (time.perf_counter() - started) * 1e3
        # First the new one serves, then it is announced.
        await self._now(info.name, {**self._served.get(info.name, {}), info.version: (info, model)})
        self._failed.pop(info.key, None)
        await self._say(info, "ready", model=model, milliseconds=milliseconds)

    def _device_lost(self, model: Model, reason: str) -> None:
        """Take a failing device's model from an executor's thread."""
        self._runtime.get_loop().call_soon_threadsafe(self._changed.put_nowait, (model, reason))

    async def _move(self, model: Model, reason: str) -> None:
        """Give every model of a device that failed to the next device."""
        device = model.device
        if device not in self.lost:
            self.lost.add(device, reason)
            _log.error("%s is lost: %s", device, reason)
            self._devices_changed()
        moved = [each for served in list(self._served.values()) for each in served.values() if each[1].device == device]
        # The one that callers wait for comes first.
        for info, old in sorted(moved, key=lambda each: each[1] is not model):
            self._device_failed(info.name, device)
            old.succeed(await self._load(info))
            if info.key in self._failed:
                served = self._served.get(info.name, {})
                await self._keep(info.name, {version: each for version, each in served.items() if each[0] != info})
        model.succeed(None)  # where it had been replaced already, nobody needs to wait

    async def _try_again(self) -> None:
        """Try the lost devices whose rest is over, each with the models that would rather be there."""
        for device in self.lost.due():
            try:
                for info in self._rather_on(device):
                    started = time.perf_counter()
                    await self._take_over(info, await self._compiled(info, (device,)), started)
            except FleetError as error:
                self.lost.add(device, str(error))
            else:
                self.lost.found(device)
                _log.warning("%s works again", device)
            self._devices_changed()

    def _rather_on(self, device: str) -> list[ModelInfo]:
        """Return what should be served and prefers this device to the one where it is."""
        found = []
        for info in [info for registered in self._registered.values() for info in registered.wanted()]:
            order = info.devices or self._options.devices
            served = self._served.get(info.name, {}).get(info.version)
            if device in order and (served is None or order.index(device) < order.index(served[1].device)):
                found.append(info)
        return found

    def _settings(self, info: ModelInfo, devices: tuple[str, ...]) -> inference.ModelSettings:
        others = [device for device in info.devices or self._options.devices if device not in devices]
        return inference.ModelSettings(
            name=info.name,
            version=info.version,
            devices=devices,
            notes=tuple(self.lost.notes(others)),
            max_batch=info.max_batch,
            precision=info.precision,
            max_delay=info.max_queue_delay_us / 1e6,
            instances=info.instances,
            hint=info.performance_hint,
            budget=self._budget,
            patience=self._options.device_timeout,
            cache_dir=self._options.cache_dir,
            digest=info.files[0].sha256[:32],
        )

    async def _unsay(self, key: str) -> None:
        said = self._said.pop(key, None)
        if said is not None:
            await self._registry.report(said[0], None)

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
            "notes": list(model.notes) if model else [],
        }
        self._said[info.key] = info, status
        # In this order: who hears the event finds the status.
        await self._registry.report(info, status)
        self._events.emit("model", name=info.name, version=info.version, state=state, device=device, error=error)
