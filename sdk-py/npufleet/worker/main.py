"""Wires one Python worker together, runs it, and drains it when it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import nats.errors
from nats.nuid import NUID

from npufleet import operations
from npufleet.errors import UnavailableError, UnknownModelError, UnsupportedError
from npufleet.payload.exchange import SWEEP_S, Exchange
from npufleet.telemetry.worker import WorkerTracing
from npufleet.transport.connection import Client
from npufleet.wire import header
from npufleet.wire.contract import OPERATIONS, VERSION
from npufleet.wire.contract import operation as contract_operation
from npufleet.worker import batch, memory
from npufleet.worker.aside import aside
from npufleet.worker.cancel import Canceller
from npufleet.worker.connection import connect_at_last, first
from npufleet.worker.devices import Runtime, describe, without_openvino
from npufleet.worker.endpoint import Endpoint
from npufleet.worker.events import Events
from npufleet.worker.executor import Executors
from npufleet.worker.intake import Intake
from npufleet.worker.jobs.attempt import Services
from npufleet.worker.jobs.consumer import Jobs
from npufleet.worker.jobs.flows import Flows
from npufleet.worker.jobs.outcome import Outcomes
from npufleet.worker.models import Models
from npufleet.worker.queue import RequestQueue
from npufleet.worker.registry import Registry
from npufleet.worker.reply import Replies
from npufleet.worker.request import Outcome
from npufleet.worker.service import of_worker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from npufleet.worker.inference import Model
    from npufleet.worker.options import Options

SERVICE: Final = "npufleet-worker-python"
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
CLOSE_SECONDS: Final = 2.0
LOADING_SECONDS: Final = 0.1
READERS_SECONDS: Final = 0.01
SWITCH_SECONDS: Final = 0.0005

_log = logging.getLogger(__name__)


def run(options: Options) -> int:
    """Run a worker until SIGTERM or SIGINT, drain it, and return the exit code: 1 when the connection was closed."""
    memory.keep_one_arena()
    # An executor that wants to run should not wait 5 ms for the event loop's thread to pause.
    sys.setswitchinterval(SWITCH_SECONDS)
    return asyncio.run(Worker(options).run())


class Worker:
    """One process's worker; its parts are made in `run`, in the order in which requests meet them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._events = Events(as_json=options.json)
        self._id = NUID().next().decode()
        self._client = Client()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._connected = False
        self._lost = False
        self._endpoints: dict[str, tuple[Endpoint, Subscription]] = {}
        self._models: Models | None = None
        self._jobs: Jobs | None = None
        self._flows: Flows | None = None
        self._devices = without_openvino(options.devices, "OpenVINO is still loading")

    async def run(self) -> int:
        """Serve until told to stop, then drain; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop_asked)
        if not await self._connect():
            return 0
        tracing = WorkerTracing(SERVICE)
        queue = RequestQueue(self._options.queue_limit)
        count = self._options.executor_count()
        exchange = Exchange(broker=self._options.connect_options("").url)
        intake = Intake(queue, count, tracing, exchange, lambda outcome: replies.add(outcome))
        replies = Replies(self._client, tracing, exchange, intake.forget)
        executors = Executors(count, queue, replies.deliver)
        canceller = Canceller(intake, queue, replies)
        self._intake = intake
        registry = Registry(self._client.jetstream(), self._id)
        runtime: asyncio.Future[Runtime] = loop.create_future()
        self._models = Models(
            registry,
            runtime,
            self._options,
            self._events,
            self._serve_model,
            self._devices_changed,
            self._device_failed,
        )
        outcomes = Outcomes(self._client, self._options.prefix, self._id)
        services = Services(outcomes, intake, tracing, self._endpoint_of, self._options.prefix, self._stop.is_set)
        self._jobs = Jobs(self._client, services, count, canceller, self._events)
        self._flows = Flows(self._client, outcomes, self._options.prefix)
        publishing = self._start("replies", replies.run())
        sweeping = self._start("sweep", canceller.sweep(executors))
        following = self._start("models", self._models.run())
        tidying = self._start("arena", self._tidy(exchange))
        background = {publishing, sweeping, following, tidying}
        try:
            await self._subscribe(canceller)
            self._events.emit("ready", id=self._id, engine="python", pid=os.getpid(), devices=self._describe())
            loading = self._start("imports", self._load(tracing, runtime))
            taking = self._start("jobs", self._jobs.run())
            coordinating = self._start("flows", self._flows.run())
            background |= {loading, taking, coordinating}
            await self._stop.wait()
            self._events.emit("draining")
            loading.cancel()
            following.cancel()
            if not self._lost:
                await self._drain(intake, replies)
                await self._await_readers(exchange)
        finally:
            queue.close()
            replies.stop()
            sweeping.cancel()
            tidying.cancel()
            await asyncio.wait(background, timeout=CLOSE_SECONDS)
            await self._close()
            exchange.close()
            await asyncio.to_thread(tracing.close)
        self._events.emit("stopped", served=replies.served)
        return 1 if self._lost else 0

    async def _load(self, tracing: WorkerTracing, runtime: asyncio.Future[Runtime]) -> None:
        """Import what takes long after the worker is ready: the sooner it answers at all, the better."""
        await aside(batch.warm_up)
        await aside(tracing.load)
        found = await aside(Runtime, self._options.devices)
        self._devices = found.devices
        runtime.set_result(found)
        self._events.emit("devices", devices=self._describe())

    def _describe(self) -> list[dict[str, Any]]:
        notes = self._models.lost.reasons() if self._models is not None else {}
        return describe(self._devices, notes)

    def _device_failed(self, model: str, device: str) -> None:
        for endpoint, _ in self._endpoints.values():
            if endpoint.model is not None and endpoint.model.name == model:
                endpoint.statistics.device_failures[device] += 1

    def _devices_changed(self) -> None:
        self._events.emit("devices", devices=self._describe())

    async def _connect(self) -> bool:
        options = self._options.connect_options(f"{SERVICE}-{self._id}")
        trying = connect_at_last(
            options, disconnected=self._disconnected, reconnected=self._reconnected, closed=self._closed
        )
        client = await first(trying, self._stop.wait())
        if not isinstance(client, Client):
            return False
        # From here on, what happens to the connection is news; before, it was an attempt.
        self._client, self._connected = client, True
        self._events.emit("broker", state="connected")
        return True

    async def _subscribe(self, canceller: Canceller) -> None:
        await self._client.subscribe(f"{self._options.prefix}.v{VERSION}.cancel.>", cb=canceller.receive)
        for row in OPERATIONS.values():
            if not row.model and row.name in operations.REGISTRY:
                for route in self._routes():
                    await self._serve(Endpoint(row, route, self._options.prefix))
        service = of_worker(self._client, self._id, self._describe, lambda: [e for e, _ in self._endpoints.values()])
        await service.start()
        await self._client.flush()

    def _routes(self) -> tuple[str, ...]:
        return ("call", "fallback") if self._options.primary else ("fallback",)

    async def _serve(self, endpoint: Endpoint) -> None:
        receive, receive_claim = self._intake.receive, self._intake.receive_claim
        endpoint.find_model = self._find_model

        async def take(message: Msg) -> None:
            if not message.data and message.headers is not None and header.CLAIM in message.headers:
                await receive_claim(endpoint, message)
            else:
                receive(endpoint, message)

        subscription = await self._client.subscribe(endpoint.subject, queue=endpoint.queue_group, cb=take)
        self._endpoints[endpoint.subject] = endpoint, subscription

    async def _endpoint_of(self, operation: str, model: str | None) -> Endpoint:
        """Return who does a job's operation, by the model that is served now; raises what is wrong with it.

        A job can wait for a model that is still loading; a call cannot.
        """
        row = contract_operation(operation)
        subject = Endpoint.subject_of(row, "fallback", self._options.prefix, model)
        while (found := self._endpoints.get(subject)) is None:
            models = self._models
            if model is None or not row.model:
                raise UnsupportedError(f"{operation} is not done by this engine")
            if models is None or self._stop.is_set() or not models.coming(model):
                raise UnknownModelError(f"model '{model}' is not served by this worker")
            await asyncio.sleep(LOADING_SECONDS)
        return found[0]

    async def _stop_jobs(self) -> None:
        for taker in (self._flows, self._jobs):
            if taker is not None:
                await taker.stop()

    @staticmethod
    async def _await_readers(exchange: Exchange) -> None:
        """Give callers time to take the last results out of the arena before it goes."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CLOSE_SECONDS
        while exchange.arena.slots_used and loop.time() < end:
            exchange.sweep()
            await asyncio.sleep(READERS_SECONDS)

    @staticmethod
    async def _tidy(exchange: Exchange) -> None:
        """Look after the arena once a second; cancel it to stop."""
        while True:
            await asyncio.sleep(SWEEP_S)
            exchange.sweep()

    def _find_model(self, name: str, params: Mapping[str, Any]) -> Model | None:
        # Every worker serves its models on this route.
        subject = Endpoint.subject_of(OPERATIONS["infer"], "fallback", self._options.prefix, name)
        found = self._endpoints.get(subject)
        return None if found is None else found[0].choose(params)

    async def _serve_model(self, name: str, models: Mapping[int, Model]) -> None:
        """Serve these versions of a model, and no others."""
        row = OPERATIONS["infer"]
        for route in self._routes():
            subject = Endpoint.subject_of(row, route, self._options.prefix, name)
            found = self._endpoints.get(subject)
            if not models:
                if found is not None:
                    del self._endpoints[subject]
                    await self._drain_subscription(found[1])
                    found[0].models = {}
                continue
            endpoint = (
                found[0] if found is not None else Endpoint(row, route, self._options.prefix, models[max(models)])
            )
            endpoint.models = dict(models)
            if found is None:
                await self._serve(endpoint)
        await self._client.flush()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._background_ended)
        return task

    async def _drain(self, intake: Intake, replies: Replies) -> None:
        """Stop the flow of requests, finish those that came, and say so to the registry."""
        try:
            async with asyncio.timeout(self._options.drain_timeout):
                ending = [self._drain_subscription(sub) for _, sub in self._endpoints.values()]
                await asyncio.gather(self._stop_jobs(), *ending)
                await first(intake.empty.wait(), self._hurry.wait())
        except TimeoutError:
            _log.warning("%d requests are not done after %.0f s", len(intake.in_flight), self._options.drain_timeout)
        for request in list(intake.in_flight.values()):
            # The caller may still ask another worker.
            replies.add(Outcome(request, error=UnavailableError("the worker stopped before the request was done")))
        await replies.idle.wait()
        if self._models is not None:
            await self._models.withdraw()

    @staticmethod
    async def _drain_subscription(subscription: Subscription) -> None:
        try:
            # Unsubscribes, waits until the server has sent all it had, and until all of that is taken in.
            await subscription.drain()  # type: ignore[no-untyped-call]
        except (nats.errors.Error, TimeoutError) as error:
            _log.warning("subscription to %s: %s", subscription.subject, error or repr(error))

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._client.is_connected:
                    await self._client.flush()
                await self._client.close()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            _log.warning("closing the connection: %s", error or repr(error))

    def _stop_asked(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.critical("%s ended", task.get_name(), exc_info=task.exception())
            self._lost = True
            self._stop.set()

    async def _disconnected(self) -> None:
        if self._connected and not self._stop.is_set():
            self._events.emit("broker", state="disconnected")

    async def _reconnected(self) -> None:
        self._events.emit("broker", state="connected")
        for taker in (self._flows, self._jobs):
            if taker is not None:
                taker.reconnected()
        if self._models is not None:
            await self._models.reconnected()

    async def _closed(self) -> None:
        if self._connected and not self._stop.is_set():
            # The broker refused us for good, as for a password that was changed: a supervisor may know better.
            self._lost = True
            self._stop.set()
