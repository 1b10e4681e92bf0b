"""Jobs under faults: nothing lost, nothing done twice, nothing stuck; and a worker that must fail the same test.

NPUFLEET_CHAOS_FAULTS and NPUFLEET_CHAOS_SEED make the run longer or another one (`make chaos`).
"""

from __future__ import annotations

import functools
import os

import pytest

from tests.chaos.harness import Campaign
from tests.support.worker_stand import WorkerProcess

FAULTS = int(os.environ.get("NPUFLEET_CHAOS_FAULTS", "20"))
SEED = int(os.environ.get("NPUFLEET_CHAOS_SEED", "1"))
KINDS = ("kill worker", "zombie", "kill broker", "stop broker", "repeat")

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


@pytest.mark.timeout(120 + 10 * FAULTS)
async def test_nothing_is_lost_done_twice_or_stuck() -> None:
    campaign = Campaign(SEED, FAULTS, KINDS)
    verdict = await campaign.run()
    print(f"seed {SEED}, {FAULTS} faults {campaign.done}: {verdict}")  # shown when it fails
    assert verdict.good, (SEED, campaign.done, verdict)
    assert verdict.accepted >= FAULTS, "there was work to be lost"


@pytest.mark.timeout(120)
async def test_the_checker_finds_what_a_careless_worker_loses() -> None:
    careless = functools.partial(WorkerProcess, program=("-c", EARLY))
    verdict = await Campaign(SEED, 6, ("kill worker",)).run(careless)
    assert verdict.lost, verdict
