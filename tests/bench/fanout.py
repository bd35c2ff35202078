"""Hook to last workload patched, beside the same patches from a bare client. Aim: at most 1.10 times as long."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from listener.core.actions import CHANGE_CAUSE, LAST_TRIGGERED
from listener.core.kinds import KINDS
from listener.core.workloads import WorkloadKey
from tests.bench.world import (
    Service,
    World,
    create_deployments,
    create_stream,
    digest,
    many,
    pull_spec,
    service,
    until,
)

DEPLOYMENT = KINDS[0]
_ROUNDS = 3
_APPLIED = 'listener_patches_total.*outcome="applied"'


async def run(world: World, workloads: int) -> dict[str, object]:
    """The service does not run while the bare client patches: it would put the images back."""
    names = await create_deployments(world, workloads, "latest", "nothing-yet")
    await create_stream(world)
    ratios, ours, bare = [], [], []
    number = 0
    for _ in range(_ROUNDS):
        number += 1
        started = time.perf_counter()
        await _patch_all(world, names, number)
        bare.append(time.perf_counter() - started)
        async with service(world) as running:
            # The stream still says what the last round said: let the service settle on that before the clock starts.
            if number > 1:
                await until(partial(_patched, world, workloads, number - 1))
            already = await running.metric(_APPLIED)
            number += 1
            started = time.perf_counter()
            await running.push(f"{world.namespace}/web", "latest", digest(number))
            await until(partial(_reached, running, already + workloads), every_seconds=0.1)
            ours.append(time.perf_counter() - started)
            if not await _patched(world, workloads, number):
                raise RuntimeError("a workload has not the digest that was pushed")
            sent = await running.metric("listener_patches_total") - already
        ratios.append(ours[-1] / bare[-1])
    return {
        "bench": "fanout",
        "workloads": workloads,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "seconds": round(statistics.median(ours), 3),
        "bare_seconds": round(statistics.median(bare), 3),
        "patches_in_last_round": int(sent),
    }


async def _reached(running: Service, patches: float) -> bool:
    return await running.metric(_APPLIED) >= patches


async def _patched(world: World, workloads: int, number: int) -> bool:
    """Whether every workload has that image, by the API server's word."""
    wanted = pull_spec(world, number)
    found = 0
    async for page in world.client.workloads(DEPLOYMENT, world.namespace).pages():
        found += sum(workload.containers[0].image == wanted for workload in page.objects)
    return found == workloads


async def _patch_all(world: World, names: Sequence[str], number: int) -> None:
    """What the service sends, byte for byte but for the time, with as many in flight."""

    async def patch(name: str) -> None:
        key = WorkloadKey(DEPLOYMENT.name, world.namespace, name)
        outcome = await world.client.patch_workload(DEPLOYMENT, key, operations(world, number))
        if outcome.end != "applied":
            raise RuntimeError(f"{key}: {outcome.end}: {outcome.message}")

    await many([partial(patch, name) for name in names])


def operations(world: World, number: int) -> list[dict[str, object]]:
    """The patch that brings a bench Deployment to an image."""
    why = {
        "stream": f"{world.namespace}/web",
        "tag": "latest",
        "generation": 1,
        "digest": digest(number),
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "delivery": "0" * 32,
    }
    container = "/spec/template/spec/containers/0"
    annotations = "/metadata/annotations/"
    return [
        {"op": "test", "path": f"{container}/name", "value": "web"},
        {"op": "replace", "path": f"{container}/image", "value": pull_spec(world, number)},
        _annotate(annotations, LAST_TRIGGERED, json.dumps(why, separators=(",", ":"))),
        _annotate(annotations, CHANGE_CAUSE, f"{world.namespace}/web:latest -> {pull_spec(world, number)}"),
    ]


def _annotate(annotations: str, name: str, value: str) -> dict[str, object]:
    return {"op": "add", "path": annotations + name.replace("/", "~1"), "value": value}
