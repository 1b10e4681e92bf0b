"""Jobs under faults: nothing lost, nothing done twice, nothing stuck; and a worker that must fail the same test.

NPUFLEET_CHAOS_FAULTS and NPUFLEET_CHAOS_SEED make the run longer or another one (`make chaos`), NPUFLEET_CHAOS_ENGINE
says which workers: python, rust, or both.
"""

from __future__ import annotations

import functools
import os
from collections import Counter

import pytest

from tests.chaos.harness import Campaign
from tests.support.worker_stand import WorkerProcess

FAULTS = int(os.environ.get("NPUFLEET_CHAOS_FAULTS", "20"))
SEED = int(os.environ.get("NPUFLEET_CHAOS_SEED", "1"))
ENGINE = os.environ.get("NPUFLEET_CHAOS_ENGINE", "python")
ENGINES = {"python": ("python",), "rust": ("rust",), "both": ("rust", "python")}[ENGINE]
KINDS = (
    "kill worker",
    "restart worker",
    "zombie",
    "kill broker",
    "stop broker",
    "cut",
    "half-open",
    "repeat",
)

EARLY = """
import sys
from npufleet.worker.jobs.attempt import Attempt

run = Attempt.run


async def early(self):
    await self._delivery.acknowledge()
    await run(self)


Attempt.run = early
from npufleet.worker.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""A worker that acknowledges before it works, as Celery does by default."""


# nats-py leaves the socket of a connection that was cut to the garbage collector, which says so.
UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@UNCLOSED
@pytest.mark.timeout(90 + 4 * FAULTS)
async def test_nothing_is_lost_done_twice_or_stuck() -> None:
    campaign = Campaign(SEED, FAULTS, KINDS, engines=ENGINES)
    verdict = await campaign.run()
    # Shown when it fails, and by `make chaos`.
    print(f"\nseed {SEED}, {ENGINE} workers, {FAULTS} faults: {dict(Counter(campaign.done))}\n{verdict}")
    assert verdict.good, (SEED, campaign.done, verdict)
    assert verdict.accepted >= FAULTS, "there was work to be lost"


@UNCLOSED
@pytest.mark.timeout(120)
async def test_the_checker_finds_what_a_careless_worker_loses() -> None:
    careless = functools.partial(WorkerProcess, program=("-c", EARLY))
    verdict = await Campaign(SEED, 6, ("kill worker",), chains=False).run(careless)
    assert verdict.lost, verdict
