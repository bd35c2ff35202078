"""Hook to first patch, beside one status write and one patch from a bare client. Aim: at most 2 times as long."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

from listener.core.changes import Seen
from listener.core.history import TagHistory, TagItem
from listener.core.kinds import DEPLOYMENT
from listener.core.streams import Stream, StreamKey
from listener.core.workloads import WorkloadKey
from tests.bench.fanout import NOTHING_YET, operations
from tests.bench.world import World, create_deployments, create_stream, digest, pull_spec, service

_ROUNDS = 50


async def run(world: World, workloads: int) -> dict[str, object]:
    """Both are timed to the moment when a watch shows the new image, so that the watch costs both the same."""
    names = await create_deployments(world, workloads, "latest", NOTHING_YET)
    await create_stream(world)
    bare = []
    for number in range(1, _ROUNDS + 1):
        stream = await world.client.get_stream(StreamKey(world.namespace, "web"))
        assert stream is not None
        bare.append(await _timed(world, number, partial(_bare, world, stream, names[0], number)))
    async with service(world) as running:
        ours = [
            await _timed(world, number, partial(running.push, f"{world.namespace}/web", "latest", digest(number)))
            for number in range(_ROUNDS + 1, 2 * _ROUNDS + 1)
        ]
    return {
        "bench": "first",
        "ratio": round(statistics.median(ours) / statistics.median(bare), 3),
        "milliseconds": round(statistics.median(ours) * 1000, 2),
        "bare_milliseconds": round(statistics.median(bare) * 1000, 2),
        "rounds": _ROUNDS,
    }


async def _bare(world: World, stream: Stream, name: str, number: int) -> None:
    item = TagItem("2026-01-01T00:00:00Z", pull_spec(world, number), digest(number), 1)
    await world.client.store_status(replace(stream, tags=(TagHistory("latest", (item,)),)))
    key = WorkloadKey(DEPLOYMENT.name, world.namespace, name)
    await world.client.patch_workload(DEPLOYMENT, key, operations(world, number))


async def _timed(world: World, number: int, do: Callable[[], Awaitable[None]]) -> float:
    """Seconds until a watch shows that the first workload has the image."""
    collection = world.client.workloads(DEPLOYMENT, world.namespace)
    async for page in collection.pages():
        position = page.resource_version
    async with asyncio.timeout(30):
        waiting = asyncio.create_task(_seen(collection.changes(position), pull_spec(world, number)))
        await asyncio.sleep(0.05)  # let the watch be established: both pay for it, outside of the clock
        started = time.perf_counter()
        await do()
        return await waiting - started


async def _seen(changes: AsyncIterator[object], image: str) -> float:
    async for change in changes:
        if isinstance(change, Seen) and change.value.containers[0].image == image:
            return time.perf_counter()
    raise RuntimeError("the watch ended before the image was seen")
