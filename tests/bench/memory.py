"""Resident memory of `listener serve` beside many Deployments of 5 KB.

Aim: 100 MiB in all, 2 KiB a workload over its rest.
"""

from __future__ import annotations

import asyncio

from tests.bench.world import World, create_deployments, create_stream, digest, service, until


async def run(world: World, workloads: int) -> dict[str, object]:
    async with service(world) as running:
        resting = running.memory_mib()
    await create_deployments(world, workloads, "latest", "nothing-yet")
    await create_stream(world)
    async with service(world) as running:
        known = await running.metric("listener_workloads")
        synced = running.memory_mib()
        await running.push(f"{world.namespace}/web", "latest", digest(1))

        async def patched() -> bool:
            return await running.metric('listener_patches_total.*outcome="applied"') >= workloads

        await until(patched, every_seconds=0.5, patience_seconds=600)
        await asyncio.sleep(2)  # the echoes of the last patches
        after = running.memory_mib()
        peak = running.memory_mib("VmHWM")
    return {
        "bench": "memory",
        "workloads": int(known),
        "resting_mib": round(resting, 1),
        "synced_mib": round(synced, 1),
        "after_fan_out_mib": round(after, 1),
        "peak_mib": round(peak, 1),
        "kib_per_workload": round((synced - resting) * 1024 / workloads, 2),
    }
