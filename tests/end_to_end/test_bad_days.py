"""What the cluster's bad days do to a push: nothing is acknowledged that is not stored, and in the end all is as it
should be. Worse days, and what protects from them, are in `tests/faults`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from listener.sandbox.cluster import Fault
from listener.sandbox.cluster.faults import FaultKind
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import Api, eventually, push_event, registry, serve

pytestmark = pytest.mark.sandbox_only(reason="a real cluster cannot be told to fail")

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 4)]


@pytest.mark.parametrize("fault", ["error", "reset", "throttle"])
async def test_a_push_that_cannot_be_stored_is_asked_for_again_and_then_stored(
    fault: FaultKind, cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    assert cluster.sandbox is not None
    namespace = await cluster.namespace("deferred")
    settings = [registry(HOST, integrated=True, verify=False)]
    push = push_event(HOST, f"{namespace}/web", "latest", DIGESTS[0])
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        cluster.sandbox.faults.set((Fault(fault, verbs=("create", "patch", "get"), retry_after=3),))
        status, headers, answer = await listener.deliver_once(push)
        assert status == 503
        assert headers["Retry-After"] == ("3" if fault == "throttle" else "5")
        assert "deliver again" in answer["error"]
        cluster.sandbox.faults.clear()
        status, _, answer = await listener.deliver_once(push)
        assert (status, answer["outcome"]) == (200, "moved")
    assert await api.history(namespace, "web", "latest") == [DIGESTS[0]]


@pytest.mark.parametrize("fault", ["error", "conflict"])
async def test_patches_that_fail_now_and_then_are_tried_again_until_all_run_the_digest(
    fault: FaultKind, cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    assert cluster.sandbox is not None
    namespace = await cluster.namespace("weather")
    names = [f"web-{number}" for number in range(30)]
    for name in names:
        await api.create(workload("Deployment", namespace, name, trigger("web:latest")))
    async with serve(
        cluster, tmp_path, registries=[registry(HOST, integrated=True, verify=False)], namespaces=[namespace]
    ) as listener:
        await listener.ready()
        plan = Fault(fault, verbs=("patch",), resources=("deployments",), probability=0.5, count=20)
        cluster.sandbox.faults.set((plan,), 7)
        status, _, _ = await listener.deliver_once(push_event(HOST, f"{namespace}/web", "latest", DIGESTS[0]))
        assert status == 200

        async def all_run() -> bool:
            found = [await api.workload("Deployment", namespace, name) for name in names]
            return all(images(one)["web"].endswith(DIGESTS[0]) for one in found)

        await eventually(all_run, seconds=40, what="all run the digest")
        assert await listener.metric("listener_patches_total") > len(names)
    # Once each: a retry that was not needed would show here.
    generations = [(await api.workload("Deployment", namespace, name))["metadata"]["generation"] for name in names]
    assert generations == [2] * len(names)
