"""Start to ready beside many Deployments, beside a bare paged list of the same. Aim: at most 1.3 times as long.

Ready counts from the start of a process. So the bare list of record is a process of its own too, from its start to its
end; how long the list takes a process that runs and is connected already is told beside it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from tests.bench import pages
from tests.bench.world import World, create_deployments, create_stream, service

_ROUNDS = 7


async def run(world: World, workloads: int) -> dict[str, object]:
    """An installed package has its bytecode: so have both here, from a round before the first that counts."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(world.folder / "bytecode")
    await create_deployments(world, workloads, "latest", "nothing-yet")
    await create_stream(world)
    async with pages.session(str(world.kubeconfig)) as api:
        measures = {
            "ours": partial(_ready, world),
            "bare": partial(_process, world),
            "running": partial(_running, partial(pages.list_deployments, api, world.namespace)),
        }
        for measure in measures.values():
            await measure()
        found: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(_ROUNDS):
            for name in measures if number % 2 else reversed(measures):
                found[name].append(await measures[name]())
    ratios = _ratios(found["ours"], found["bare"])
    return {
        "bench": "startup",
        "workloads": workloads,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio_to_running": round(statistics.median(_ratios(found["ours"], found["running"])), 3),
        "seconds": round(statistics.median(found["ours"]), 3),
        "bare_seconds": round(statistics.median(found["bare"]), 3),
        "bare_running_seconds": round(statistics.median(found["running"]), 3),
    }


def _ratios(ours: Sequence[float], bare: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, bare, strict=True)]


async def _ready(world: World) -> float:
    started = time.perf_counter()
    async with service(world):
        return time.perf_counter() - started


async def _process(world: World) -> float:
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.pages", str(world.kubeconfig), world.namespace),
        stdout=asyncio.subprocess.DEVNULL,
    )
    if await process.wait() != 0:
        raise RuntimeError("the bare list failed")
    return time.perf_counter() - started


async def _running(listing: Callable[[], Awaitable[int]]) -> float:
    started = time.perf_counter()
    await listing()
    return time.perf_counter() - started
