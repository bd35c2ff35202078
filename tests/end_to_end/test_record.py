"""What a stream tells of its last fan-out, from the push to the last rollout."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cli.parts import run
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import PLURALS, trigger, workload
from tests.end_to_end.parts import Api, eventually, push_event, registry, serve

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 3)]


async def test_a_fan_out_is_recorded_from_the_push_to_the_last_rollout(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("record")
    for kind in PLURALS:
        annotation = trigger("web:latest", kind=kind)
        await asyncio.gather(
            *(api.create(workload(kind, namespace, f"{kind}-{n}".lower(), annotation)) for n in range(5))
        )
    await api.create(workload("Deployment", namespace, "broken", trigger("web:latest", container="none")))
    paused = trigger("web:latest").replace('"fieldPath"', '"paused": true, "fieldPath"')
    await api.create(workload("Deployment", namespace, "paused", paused))

    async def record(phase: str, image: str) -> dict[str, Any] | None:
        found = (await api.stream(namespace, "web")).get("status", {}).get("fanOuts") or [{}]
        return found[0] if (found[0].get("phase"), found[0].get("image")) == (phase, image) else None

    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        for number, image in enumerate(DIGESTS, start=1):
            status, answer = await listener.deliver(push_event(HOST, f"{namespace}/web", "latest", image))
            assert status == 200, answer
            done = await eventually(lambda i=image: record("Done", i), seconds=60, what="all is rolled out")  # type: ignore[misc]
            assert done is not None
            counts = ("matched", "patched", "current", "paused", "waiting", "failed", "rollouts", "rolledOut")
            # CronJobs do not tell of their rollout.
            assert [done[name] for name in counts] == [22, 20, 0, 1, 0, 1, 15, 15]
            (failure,) = done["failures"]
            assert (failure["kind"], failure["namespace"], failure["name"]) == ("Deployment", namespace, "broken")
            assert "no container 'none'" in failure["reason"]
            names = ("started", "firstPatched", "lastPatched", "lastRolledOut")
            times = [datetime.fromisoformat(done[name]) for name in names]
            assert times == sorted(times)
            assert done["firstPatched"] < done["lastPatched"]
            assert done["firstPatched"] < done["firstRolledOut"] <= done["lastRolledOut"]
            assert (done["cause"], done["delivery"] != "") == ("push", True)
            assert await listener.metric("listener_hook_to_rolled_out_seconds_count") == 15 * number
    shown = (await run("history", "web:latest", "-n", namespace, "--kubeconfig", cluster.kubeconfig)).text
    assert "last fan-out: 20 patched of 22 (1 paused, 1 failed) in " in shown
    assert ", rolled out after " in shown
    assert f"failed: deployment {namespace}/broken: " in shown
    assert [found["image"] for found in (await api.stream(namespace, "web"))["status"]["fanOuts"]] == DIGESTS[::-1]
