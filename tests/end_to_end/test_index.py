"""Who follows what changes while the service runs, and while it cannot see: it forgets and learns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from listener.core.kinds import DEPLOYMENT
from listener.core.workloads import WorkloadKey
from listener.sandbox.cluster import Fault
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import PLACEHOLDER, images, path_of, trigger, workload
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 6)]
ANNOTATION = "/metadata/annotations/image.openshift.io~1triggers"


def image(namespace: str, digest: str, stream: str = "web") -> str:
    return f"{HOST}/{namespace}/{stream}@{digest}"


async def create(api: Api, namespace: str, *names: str, stream: str = "web") -> None:
    for name in names:
        await api.create(workload("Deployment", namespace, name, trigger(f"{stream}:latest")))


async def patch(api: Api, namespace: str, name: str, *operations: Mapping[str, Any]) -> None:
    outcome = await api.client.patch_workload(DEPLOYMENT, WorkloadKey("Deployment", namespace, name), operations)
    assert outcome.end == "applied", outcome.message


async def delete(api: Api, namespace: str, name: str) -> None:
    outcome = await api.client.delete(path_of("Deployment", namespace, name))
    assert outcome.end == "applied", outcome.message

    async def gone() -> bool:
        return await api.client.get_workload(DEPLOYMENT, WorkloadKey("Deployment", namespace, name)) is None

    await eventually(gone, what=f"{name} is gone")


async def push(listener: Listener, namespace: str, digest: str, stream: str = "web") -> None:
    status, answer = await listener.deliver(push_event(HOST, f"{namespace}/{stream}", "latest", digest))
    assert status == 200, answer


async def run(api: Api, namespace: str, **expected: str) -> None:
    """Wait until these Deployments run these images; `_` stands for a dash."""
    names = [name.replace("_", "-") for name in expected]

    async def all_do() -> bool:
        found = await asyncio.gather(*(api.workload("Deployment", namespace, name) for name in names))
        return [images(each)["web"] for each in found] == list(expected.values())

    await eventually(all_do, what=f"{names} run {list(expected.values())}")


async def test_a_trigger_that_moves_to_another_stream_takes_its_workload_along(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("move")
    await create(api, namespace, "app", "witness")
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        await push(listener, namespace, DIGESTS[0])
        await push(listener, namespace, DIGESTS[1], "api")
        first = image(namespace, DIGESTS[0])
        await run(api, namespace, app=first, witness=first)
        await patch(api, namespace, "app", {"op": "replace", "path": ANNOTATION, "value": trigger("api:latest")})
        await run(api, namespace, app=image(namespace, DIGESTS[1], "api"))
        await push(listener, namespace, DIGESTS[2])
        await run(api, namespace, witness=image(namespace, DIGESTS[2]))
        await push(listener, namespace, DIGESTS[3], "api")
        await run(api, namespace, app=image(namespace, DIGESTS[3], "api"))
        assert await listener.terminate() == 0
    # It followed each stream while its trigger named it, and no longer: three images, and the change of its trigger.
    assert (await api.workload("Deployment", namespace, "app"))["metadata"]["generation"] == 1 + 3 + 1


async def test_a_workload_that_is_renamed_or_made_anew_is_another_one(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("anew")
    await create(api, namespace, "anew", "before")
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        await push(listener, namespace, DIGESTS[0])
        await run(api, namespace, anew=image(namespace, DIGESTS[0]), before=image(namespace, DIGESTS[0]))
        await delete(api, namespace, "anew")
        await delete(api, namespace, "before")
        await create(api, namespace, "anew", "after")
        await run(api, namespace, anew=image(namespace, DIGESTS[0]), after=image(namespace, DIGESTS[0]))
        await push(listener, namespace, DIGESTS[1])
        await run(api, namespace, anew=image(namespace, DIGESTS[1]), after=image(namespace, DIGESTS[1]))
        assert await listener.metric('listener_workloads{kind="Deployment"}') == 2
        assert listener.logged("patch.failed") == []


async def test_containers_that_change_their_order_are_found_by_their_names(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("order")
    await create(api, namespace, "app")
    settings = [registry(HOST, integrated=True, verify=False)]
    containers = "/spec/template/spec/containers"
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        await push(listener, namespace, DIGESTS[0])
        await run(api, namespace, app=image(namespace, DIGESTS[0]))
        await patch(api, namespace, "app", {"op": "move", "from": f"{containers}/1", "path": f"{containers}/0"})
        await push(listener, namespace, DIGESTS[1])
        await run(api, namespace, app=image(namespace, DIGESTS[1]))
        first = {"name": "first", "image": "first:1"}
        await patch(api, namespace, "app", {"op": "add", "path": f"{containers}/0", "value": first})
        await push(listener, namespace, DIGESTS[2])
        await run(api, namespace, app=image(namespace, DIGESTS[2]))
    found = images(await api.workload("Deployment", namespace, "app"))
    assert found == {"first": "first:1", "web": image(namespace, DIGESTS[2]), "sidecar": "sidecar:1"}


@pytest.mark.sandbox_only(reason="a real cluster forgets when it likes")
async def test_what_happened_behind_a_watch_that_was_forgotten_is_found_by_listing_again(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    assert cluster.sandbox is not None
    namespace = await cluster.namespace("relist")
    await create(api, namespace, "stays", "unannotated", "deleted", "anew", "moved")
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        await push(listener, namespace, DIGESTS[0])
        first = image(namespace, DIGESTS[0])
        await run(api, namespace, stays=first, unannotated=first, deleted=first, anew=first, moved=first)

        cluster.sandbox.faults.set((Fault("reset", verbs=("watch", "list"), resources=("deployments",)),))
        await patch(api, namespace, "unannotated", {"op": "remove", "path": ANNOTATION})
        await delete(api, namespace, "deleted")
        await delete(api, namespace, "anew")
        await create(api, namespace, "anew", "new")
        await patch(api, namespace, "moved", {"op": "replace", "path": ANNOTATION, "value": trigger("api:latest")})
        assert images(await api.workload("Deployment", namespace, "new"))["web"] == PLACEHOLDER
        cluster.sandbox.compact()
        cluster.sandbox.faults.clear()

        await run(api, namespace, anew=first, new=first)
        assert any("410" in line["reason"] for line in listener.logged("watch.interrupted"))
        await push(listener, namespace, DIGESTS[1])
        await push(listener, namespace, DIGESTS[2], "api")
        second, third = image(namespace, DIGESTS[1]), image(namespace, DIGESTS[2], "api")
        await run(api, namespace, stays=second, anew=second, new=second, moved=third)
        assert await listener.metric('listener_workloads{kind="Deployment"}') == 4
        assert await listener.terminate() == 0
    assert images(await api.workload("Deployment", namespace, "unannotated"))["web"] == first
    assert (await api.workload("Deployment", namespace, "moved"))["metadata"]["generation"] == 1 + 2 + 1
