"""Memory stays flat under hostile deliveries, through the real door; and what is kept of each would be seen."""

from __future__ import annotations

import gc
import sys
from random import Random

import pytest
from structlog.testing import capture_logs

from listener.core.events import Parsed
from listener.core.receipts import Arrival, Receipt
from listener.edges.web import Limits
from tests.bench.flatness import Course
from tests.edges.doors import Door, door
from tests.fuzz import inputs
from tests.fuzz.mutations import Mutator

ROUNDS = 9
DELIVERIES = 120
LARGEST = 4000
SLACK_BLOCKS = 400
"""A leak of two blocks for each delivery is some 700 from one third to the next."""


async def _course(keeps: list[object] | None) -> Course:
    """How many blocks of memory, of any size, Python holds after each round of hostile deliveries, all unlike."""
    chance = Random(7)  # noqa: S311 - nothing is secret here
    seeds = [case for case in inputs.seeds() if len(case.body) < LARGEST]
    mutator = Mutator(seeds)
    samples: list[float] = []

    async def take(parsed: Parsed, _arrival: Arrival) -> Receipt:
        if keeps is not None:
            keeps.append(parsed)
        return Receipt()

    async with door(take, limits=Limits(refused_burst=1_000_000)) as team:
        for _ in range(ROUNDS):
            with capture_logs() as logs:
                for _ in range(DELIVERIES):
                    await _post(team, mutator, seeds, chance)
            del logs
            team.taken.clear()
            team.meter.labels.clear()
            gc.collect()
            samples.append(sys.getallocatedblocks())
    return Course(samples, share=0, slack=SLACK_BLOCKS)


async def _post(team: Door, mutator: Mutator, seeds: list[inputs.Case], chance: Random) -> None:
    case = mutator.mutated(mutator.mutated(chance.choice(seeds), chance), chance)
    headers = {
        name: value
        for name, value in case.headers.items()
        if name.isascii()
        and name.replace("-", "").isalnum()
        and value.isascii()
        and value.isprintable()
        and name not in {"content-length", "transfer-encoding", "host", "connection", "expect", "content-encoding"}
    }
    status, _, _ = await team.post(case.body[:LARGEST], headers=headers)
    assert status in {200, 400}


@pytest.mark.parametrize("leaks", [False, True], ids=["the door", "a door that keeps what it took"])
async def test_memory_is_flat_unless_something_is_kept_of_each_delivery(leaks: bool) -> None:
    course = await _course([] if leaks else None)
    assert course.is_flat is not leaks, list(course.samples)
