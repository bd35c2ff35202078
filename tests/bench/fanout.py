"""Hook to last workload patched, beside the same patches from a bare client. Aim: at most 1.10 times as long."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

from listener.core.actions import CHANGE_CAUSE, LAST_TRIGGERED
from listener.core.kinds import DEPLOYMENT
from listener.core.workloads import WorkloadKey
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

_FEWEST_ROUNDS, _PATCHES = 3, 10_000  # so few at least; fan-outs of a thousand scatter more, and take less time
_REST_SECONDS = 1
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 600
_SENT = "listener_patches_total"
_PATCHED = b'"workload.patched"'


async def run(world: World, workloads: int) -> dict[str, object]:
    """The two take turns over many rounds, on a server at rest and with connections that are open: the service in one
    namespace, the bare client in another, where there are as many Deployments of the same kind. So that a machine that
    is slow for a while is slow for both, each round of ours stands between two of the bare client.
    """
    async with beside(world) as other:
        names = await create_deployments(world, workloads, "latest", NOTHING_YET)
        await create_deployments(other, workloads, "latest", NOTHING_YET)
        await create_stream(world)
        ours, bare = [], []
        async with service(world) as running:
            for number in range(1, _FEWEST_ROUNDS + _PATCHES // workloads + 1):
                bare.append(await _measured(patch_all(other, names, number)))
                ours.append(await _measured(push_to_all(world, running, workloads, number)))
                if not await _patched(world, workloads, number):
                    raise RuntimeError("a workload has not the digest that was pushed")
            bare.append(await _measured(patch_all(other, names, number + 1)))
            sent = await running.metric(_SENT)
    ratios = [seconds / statistics.mean(around) for seconds, around in zip(ours, pairwise(bare), strict=True)]
    return {
        "bench": "fanout",
        "workloads": workloads,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "seconds": round(statistics.median(ours), 3),
        "bare_seconds": round(statistics.median(bare), 3),
        "patches_in_a_round": sent / len(ours),
    }


async def _measured(work: Awaitable[None]) -> float:
    await asyncio.sleep(_REST_SECONDS)
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def push_to_all(world: World, running: Service, workloads: int, number: int) -> None:
    """Push, and return when the service has patched every workload; at the latest after `_PATIENCE_SECONDS`.

    Its log tells that: to answer questions would take the time it should patch in.
    """
    with running.log.open("rb") as log:
        log.seek(0, os.SEEK_END)
        await running.push(f"{world.namespace}/web", "latest", digest(number))
        patched, rest = 0, b""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while patched < workloads:
                await asyncio.sleep(_LOOK_SECONDS)
                *lines, rest = (rest + log.read()).split(b"\n")
                patched += sum(_PATCHED in line for line in lines)


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
