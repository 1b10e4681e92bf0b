"""A fault campaign in Jepsen's shape: a ledger of what was accepted, faults from a seed, healing, and a checker.

A job is *lost* when it was accepted and has no result at the end, *duplicated* when its result is not the one that was
seen first, *stuck* when it is still in a stream after everything has been healed, and *recovered* when its submission
had an unknown outcome and it was done all the same. Every fifth submission is a chain of two jobs, to which the same
applies. Everybody speaks to the broker through a proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from npufleet import AsyncFleet, FleetError, Step, UnknownOutcomeError
from npufleet.transport.connection import give_up
from npufleet.transport.jetstream import last, scan
from npufleet.wire import frame
from npufleet.wire.job import result_subject
from npufleet.worker.jobs.failpoint import PLACES, VARIABLE
from tests.support.jobs_stand import ACK_WAIT, jobs_broker, messages, state
from tests.support.proxy import Proxy
from tests.support.worker_stand import PATIENCE, WorkerProcess, client

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from npufleet import Job
    from npufleet.transport.connection import Client
    from tests.support.worker_stand import Broker

HEALING_S = 60.0
LATE_S = 10.0
PAUSE_S = 0.02
WAITING_MOST = 200
CHAIN_EVERY = 5
RETRIES = 100
"""Kills cost attempts, and none of these jobs is to fail."""


@dataclass
class Ledger:
    """What the publisher knows: jobs by tag, and the first result that was seen of each."""

    accepted: dict[int, Job] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    seen: dict[int, int] = field(default_factory=dict)


@dataclass
class Verdict:
    """What the checker found."""

    accepted: int = 0
    lost: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    stuck: int = 0
    recovered: int = 0
    refused: int = 0
    deaths: int = 0
    healed: float = 0.0
    late: list[str] = field(default_factory=list)
    """What was not over some time after everything had been healed, and what was said of it last."""

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong or self.stuck)


class Workers:
    """So many workers, started again when they are gone; `engines` are taken in turn, `start` makes one."""

    def __init__(
        self, url: str, count: int, draw: random.Random, engines: tuple[str, ...], start: Callable[..., WorkerProcess]
    ) -> None:
        self._url = url
        self._draw = draw
        self._start = start
        self._engines = itertools.cycle(engines)
        # All of them in turn, so that a short run meets each.
        self._places = itertools.cycle(draw.sample(PLACES, len(PLACES)))
        self.processes: list[WorkerProcess] = [self._fresh() for _ in range(count)]
        self.deaths = 0

    def _fresh(self, fail_point: str = "") -> WorkerProcess:
        environment = {VARIABLE: fail_point} if fail_point else {}
        return self._start(self._url, "--executors", "2", engine=next(self._engines), **environment)

    def alive(self) -> list[WorkerProcess]:
        return [process for process in self.processes if process.process.poll() is None]

    def replace_dead(self, *, fail: bool) -> None:
        for index, process in enumerate(self.processes):
            if process.process.poll() is not None:
                with process:
                    pass
                place = f"{next(self._places)}:{self._draw.randint(1, 12)}" if fail else ""
                self.processes[index] = self._fresh(place)
                self.deaths += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            # One that is stopped could not be killed by what follows it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.process.pid, signal.SIGCONT)
            with process:
                pass


class Campaign:
    """One run: `faults` faults of a seed against workers of one engine, or of several."""

    def __init__(
        self,
        seed: int,
        faults: int,
        kinds: tuple[str, ...],
        *,
        workers: int = 2,
        engines: tuple[str, ...] = ("python",),
        chains: bool = True,
    ) -> None:
        self.chains = chains
        self.engines = engines
        self.draw = random.Random(seed)
        self.faults = faults
        self.kinds = kinds
        self.count = workers
        self.ledger = Ledger()
        self.done: list[str] = []
        self.late: list[str] = []

    async def run(self, start: Callable[..., WorkerProcess] = WorkerProcess) -> Verdict:
        """Submit, break, heal, check."""
        stand = jobs_broker()
        running = await asyncio.to_thread(stand.__enter__)
        try:
            return await self._on(running, start)
        finally:
            await asyncio.to_thread(stand.__exit__, None, None, None)

    async def _on(self, running: Broker, start: Callable[..., WorkerProcess]) -> Verdict:
        with (
            Proxy(running.port) as proxy,
            Workers(proxy.url, self.count, self.draw, self.engines, start) as workers,
        ):
            for process in workers.processes:
                await asyncio.to_thread(process.wait, "jobs", PATIENCE, state="taking")
            async with (
                AsyncFleet.connect(proxy.url) as fleet,
                client(running.url, max_reconnect_attempts=-1) as plain,
            ):
                publishing = asyncio.create_task(self._publish(fleet))
                watching = asyncio.create_task(self._watch(fleet))
                try:
                    for _ in range(self.faults):
                        await self._fault(running, workers, plain, proxy)
                finally:
                    await give_up(publishing)
                proxy.heal()
                started = time.monotonic()
                stuck = await self._heal(running, workers, plain)
                healed = time.monotonic() - started
                await give_up(watching)
                verdict = await self._check(fleet, plain, stuck)
                verdict.late = self.late
                verdict.deaths, verdict.healed = workers.deaths, round(healed, 1)
                return verdict

    async def _publish(self, fleet: AsyncFleet) -> None:
        tag = 0
        while True:
            if len(self.ledger.accepted) - len(self.ledger.seen) >= WAITING_MOST:
                await asyncio.sleep(PAUSE_S)  # what is measured is recovery, not how fast a backlog is worked off
                continue
            tag += 1
            # Few different ones: the transport begins a job like one before without another look.
            x, delay = {"tag": np.array(tag)}, round(self.draw.uniform(0.0, 0.05), 2)
            how: dict[str, Any] = {"retries": RETRIES, "idempotency_key": f"tag-{tag}", "timeout": 1.0}
            try:
                if self.chains and tag % CHAIN_EVERY == 0:
                    self.ledger.accepted[tag] = await fleet.chain(Step("echo", x, delay=delay), Step("echo"), **how)
                else:
                    self.ledger.accepted[tag] = await fleet.submit("echo", x, {"delay": delay}, **how)
            except UnknownOutcomeError as error:
                self.ledger.unknown[tag] = str(error.job_id)
            except FleetError:
                self.ledger.refused += 1
            await asyncio.sleep(PAUSE_S)

    async def _watch(self, fleet: AsyncFleet) -> None:
        """Remember which result was there first."""
        while True:
            unseen = {
                result_subject(job.id): tag for tag, job in self.ledger.accepted.items() if tag not in self.ledger.seen
            }
            if unseen:
                with contextlib.suppress(FleetError, TimeoutError):
                    question = {"multi_last": list(unseen)}
                    for found in await scan(await fleet.control.client(), "RESULTS", question, 1.0):
                        self.ledger.seen[unseen[found.subject]] = found.sequence
            await asyncio.sleep(0.1)

    async def _fault(self, broker: Broker, workers: Workers, plain: Client, proxy: Proxy) -> None:
        kind = self.draw.choice(self.kinds)
        self.done.append(kind)
        alive = workers.alive()
        victim = self.draw.choice(alive) if alive else None
        if kind == "kill worker" and victim is not None:
            victim.process.kill()
        elif kind == "restart worker" and victim is not None:
            victim.process.terminate()
            await asyncio.to_thread(victim.process.wait, PATIENCE)
        elif kind == "cut":
            proxy.cut(self.draw)
        elif kind == "half-open":
            proxy.silence(self.draw)
            await asyncio.sleep(ACK_WAIT * 1.5)
            proxy.heal(cut=self.draw.random() < 0.5)
        elif kind == "zombie" and victim is not None:
            os.kill(victim.process.pid, signal.SIGSTOP)
            await asyncio.sleep(ACK_WAIT * 1.5)
            os.kill(victim.process.pid, signal.SIGCONT)
        elif kind == "kill broker":
            broker.kill()
            await asyncio.sleep(self.draw.uniform(0.0, 0.3))
            await asyncio.to_thread(broker.start)
        elif kind == "stop broker":
            os.kill(broker.process.pid, signal.SIGSTOP)
            await asyncio.sleep(self.draw.uniform(0.1, 0.8))
            os.kill(broker.process.pid, signal.SIGCONT)
        elif kind == "repeat":
            await self._repeat(plain)
        await asyncio.sleep(self.draw.uniform(0.2, 0.6))
        workers.replace_dead(fail=True)

    async def _repeat(self, plain: Client) -> None:
        """Put a job into the stream once more, as a lost acknowledgement would after the window for duplicates."""
        if len(self.ledger.accepted) < CHAIN_EVERY:
            return
        tag = self.draw.choice([tag for tag in self.ledger.accepted if tag % CHAIN_EVERY])
        headers = {"Npu-Job-Id": self.ledger.accepted[tag].id, "Npu-Retries": str(RETRIES)}
        payload = frame.encode({"tag": np.array(tag)}, {"delay": 0.0})
        with contextlib.suppress(Exception):
            await plain.publish("npu.v1.job.normal.echo", payload, headers=headers)

    async def _heal(self, broker: Broker, workers: Workers, plain: Client) -> int:
        """End all faults and wait until the stream is empty; returns how many jobs are left in it."""
        if broker.process.poll() is not None:
            await asyncio.to_thread(broker.start)
        for process in workers.alive():
            os.kill(process.process.pid, signal.SIGCONT)
        started = time.monotonic()
        end = started + HEALING_S
        left = -1
        while time.monotonic() < end:
            workers.replace_dead(fail=False)
            with contextlib.suppress(Exception):
                left = await messages(plain, "JOBS") + await messages(plain, "FLOWS")
                if left == 0:
                    return 0
                if not self.late and time.monotonic() - started > LATE_S:
                    self.late = await _left(plain)
            await asyncio.sleep(0.1)
        return left

    async def _check(self, fleet: AsyncFleet, plain: Client, stuck: int) -> Verdict:
        ledger = self.ledger
        verdict = Verdict(accepted=len(ledger.accepted), stuck=stuck, refused=ledger.refused)
        for tag, job in ledger.accepted.items():
            found = await last(plain, "RESULTS", result_subject(job.id), 5.0)
            if found is None:
                verdict.lost.append(tag)
                continue
            if ledger.seen.get(tag, found.sequence) != found.sequence:
                verdict.duplicated.append(tag)
            if int((await job.result())["tag"]) != tag:
                verdict.wrong.append(tag)
        results = await state(plain, "RESULTS")
        # Every message that a subject ever had counts: none has been replaced.
        if results["messages"] != results["num_subjects"] or results["last_seq"] != results["messages"]:
            verdict.duplicated.append(-1)
        for job_id in ledger.unknown.values():
            if await last(plain, "RESULTS", result_subject(job_id), 5.0) is not None:
                verdict.recovered += 1
        return verdict


async def _left(plain: Client) -> list[str]:
    """What is still in the streams, each with its last event."""
    found = []
    for stream in ("JOBS", "FLOWS"):
        for stored in await scan(plain, stream, {"seq": 1, "next_by_subj": "npu.v1.>", "batch": 3}, 5.0):
            job_id = stored.headers["Npu-Job-Id"]
            event = await last(plain, "EVENTS", f"npu.v1.event.{job_id}", 5.0)
            over = await last(plain, "RESULTS", result_subject(job_id), 5.0)
            said = "nothing" if event is None else event.data.decode()
            found.append(f"{stored.subject} {job_id} {'has a result' if over else ''} {said} at {time.time():.1f}")
            _, _, route, lane, *_ = stored.subject.split(".")
            info = json.loads((await plain.request(f"$JS.API.CONSUMER.INFO.{stream}.{route}-{lane}")).data)
            # Whether somebody holds it, or the broker takes it for acknowledged.
            names = ("ack_floor", "num_ack_pending", "num_redelivered", "num_pending")
            found.append(f"number {stored.sequence}; {route}-{lane}: { {name: info[name] for name in names} }")
    return found
