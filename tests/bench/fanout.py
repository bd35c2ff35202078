"""Hook to last workload patched, beside the same patches from a bare client. Aim: at most 1.10 times as long."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import aiohttp

from listener.core.actions import CHANGE_CAUSE, LAST_TRIGGERED
from listener.core.kinds import DEPLOYMENT
from listener.core.workloads import WorkloadKey
from listener.errors import ClusterRefused
from tests.bench.world import (
    Service,
    World,
    beside,
    create_deployments,
    create_stream,
    digest,
    many,
    pull_spec,
    service,
)

NOTHING_YET = "nothing-yet"

_BLOCKS = 5
_PATCHES = 5_000  # in a turn, at least
_REST_SECONDS = 1
_SHORTEST_LOOK_SECONDS = 0.001
_PATIENCE_SECONDS = 600
_PROFILE = "/debug/pprof/heap"
_PROFILE_TIMEOUT = aiohttp.ClientTimeout(total=60)
_SENT = "listener_patches_total"
_PATCHED = b'"event":"workload.patched"'


@dataclass(slots=True)
class _Side:
    """One of the two: the namespace that it patches, how it does the fan-out of a number, and how long one took in each
    turn.
    """

    world: World
    patch: Callable[[int], Awaitable[None]]
    fan_outs: int = 0
    seconds: list[float] = field(default_factory=list)

    async def turn(self, workloads: int) -> None:
        """Patch all of them again and again, beginning on a server at rest, and see that it was done."""
        await _collect_garbage(self.world)
        await asyncio.sleep(_REST_SECONDS)
        times = max(1, _PATCHES // workloads)
        started = time.perf_counter()
        for _ in range(times):
            self.fan_outs += 1
            await self.patch(self.fan_outs)
        self.seconds.append((time.perf_counter() - started) / times)
        if not await _patched(self.world, workloads, self.fan_outs):
            raise RuntimeError(f"a workload of {self.world.namespace} has not the digest of fan-out {self.fan_outs}")


async def run(world: World, workloads: int) -> dict[str, object]:
    """The service patches in one namespace, the bare client in another, where there are as many Deployments of the same
    kind.

    They take turns in blocks: bare, ours, ours, bare. So a machine that slows down does so for both, and each follows
    the other as often as itself. The first turn of each does not count: in it each object gets a second manager. While
    the bare client patches the service stands still: the Events of its last turn would be sent at the other's expense.
    """
    async with beside(world) as other:
        names = await create_deployments(world, workloads, "latest", NOTHING_YET)
        await create_deployments(other, workloads, "latest", NOTHING_YET)
        await create_stream(world)
        async with service(world) as running:

            async def patch_alone(number: int) -> None:
                with running.halted():
                    await patch_all(other, names, number)

            bare = _Side(other, patch_alone)
            ours = _Side(world, partial(push_to_all, world, running, workloads))
            for side in (bare, ours, *(bare, ours, ours, bare) * _BLOCKS):
                await side.turn(workloads)
            sent = await running.metric(_SENT)
    counted, to = ours.seconds[1:], bare.seconds[1:]
    ratios = [sum(counted[n : n + 2]) / sum(to[n : n + 2]) for n in range(0, len(counted), 2)]
    return {
        "bench": "fanout",
        "workloads": workloads,
        "ratio": round(statistics.median(ratios), 3),
        "blocks": [round(ratio, 3) for ratio in ratios],
        "seconds": round(statistics.median(counted), 3),
        "bare_seconds": round(statistics.median(to), 3),
        "patches_in_a_fan_out": sent / ours.fan_outs,
    }


async def _collect_garbage(world: World) -> None:
    """Have the API server do that now, if it can be asked. It costs as much as some hundred patches and is due after
    each thousand or two: so a turn is of several thousand, and none begins with what is left of the one before.
    """
    with suppress(ClusterRefused):
        await world.client.read(_PROFILE, {"gc": "1"}, limits=_PROFILE_TIMEOUT)


async def push_to_all(world: World, running: Service, workloads: int, number: int) -> None:
    """Push, and return when the service has patched every workload; at the latest after `_PATIENCE_SECONDS`.

    Its log tells that, and is read as seldom as will do: whoever asks takes the time it should patch in.
    """
    started = time.perf_counter()
    with running.log.open("rb") as log:
        log.seek(0, os.SEEK_END)
        await running.push(f"{world.namespace}/web", "latest", digest(number))
        patched, rest = 0, b""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while patched < workloads:
                left = workloads / (patched + 1) - 1  # times what it has taken until now
                taken = time.perf_counter() - started
                await asyncio.sleep(max(_SHORTEST_LOOK_SECONDS, min(left / 4, 0.2) * taken))
                lines, end, rest = (rest + log.read()).rpartition(b"\n")
                patched += (lines + end).count(_PATCHED)


async def _patched(world: World, workloads: int, number: int) -> bool:
    """Whether every workload has that image, by the API server's word."""
    wanted = pull_spec(world, number)
    found = 0
    async for page in world.client.workloads(DEPLOYMENT, world.namespace).pages():
        found += sum(workload.containers[0].image == wanted for workload in page.objects)
    return found == workloads


async def patch_all(world: World, names: Sequence[str], number: int) -> None:
    """What the service sends, byte for byte but for the time, with as many in flight."""

    async def patch(name: str) -> None:
        key = WorkloadKey(DEPLOYMENT.name, world.namespace, name)
        outcome = await world.client.patch_workload(DEPLOYMENT, key, operations(world, number))
        if outcome.end != "applied":
            raise RuntimeError(f"{key}: {outcome.end}: {outcome.message}")

    await many([partial(patch, name) for name in names])


def operations(world: World, number: int) -> list[dict[str, object]]:
    """The patch that brings a bench Deployment to an image, from the one with the number before."""
    why = {
        "stream": f"{world.namespace}/web",
        "tag": "latest",
        "generation": 1,
        "digest": digest(number),
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "delivery": "0" * 32,
    }
    before = pull_spec(world, number - 1) if number > 1 else NOTHING_YET
    container = "/spec/template/spec/containers/0"
    annotations = "/metadata/annotations/"
    return [
        {"op": "test", "path": f"{container}/name", "value": "web"},
        {"op": "test", "path": f"{container}/image", "value": before},
        {"op": "replace", "path": f"{container}/image", "value": pull_spec(world, number)},
        _annotate(annotations, LAST_TRIGGERED, json.dumps(why, separators=(",", ":"))),
        _annotate(annotations, CHANGE_CAUSE, f"{world.namespace}/web:latest -> {pull_spec(world, number)}"),
    ]


def _annotate(annotations: str, name: str, value: str) -> dict[str, object]:
    return {"op": "add", "path": annotations + name.replace("/", "~1"), "value": value}
