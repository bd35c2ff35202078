"""kubernetes_asyncio, as Python programs use it: typed and custom objects, and its Watch, which says `watch=True`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes_asyncio import client, config, watch

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import definition, deployment, gadget

GADGETS = ("example.com", "v1", "default", "gadgets")


@pytest.fixture
async def library(sandbox: Cluster, tmp_path: Path) -> AsyncIterator[client.ApiClient]:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(sandbox.kubeconfig())
    async with await config.new_client_from_config(str(kubeconfig)) as library:
        yield library


async def test_typed_objects_go_there_and_back(library: client.ApiClient) -> None:
    apps = client.AppsV1Api(library)
    created = await apps.create_namespaced_deployment("default", deployment("web", replicas=2))
    while created.status.observed_generation is None:  # its controller writes it, too
        await asyncio.sleep(0.01)
        created = await apps.read_namespaced_deployment("web", "default")
    created.spec.replicas = 3
    replaced = await apps.replace_namespaced_deployment("web", "default", created)
    assert (replaced.spec.replicas, replaced.metadata.generation) == (3, 2)
    with pytest.raises(client.ApiException) as stale:
        await apps.replace_namespaced_deployment("web", "default", created)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    listed = await apps.list_deployment_for_all_namespaces(label_selector="app=web", limit=1)
    assert [item.metadata.name for item in listed.items] == ["web"]
    await apps.delete_namespaced_deployment("web", "default", propagation_policy="Foreground")


async def test_custom_objects_go_there_and_back(library: client.ApiClient) -> None:
    await client.ApiextensionsV1Api(library).create_custom_resource_definition(definition())
    custom = client.CustomObjectsApi(library)
    await custom.create_namespaced_custom_object(*GADGETS, gadget("g"))
    status = {"status": {"phase": "ready"}}
    kind = "application/merge-patch+json"
    await custom.patch_namespaced_custom_object_status(*GADGETS, "g", status, _content_type=kind)
    found = await custom.get_namespaced_custom_object(*GADGETS, "g")
    assert (found["spec"], found["status"]) == ({"size": 1, "color": "blue"}, {"phase": "ready"})
    await custom.delete_namespaced_custom_object(*GADGETS, "g")
    assert (await custom.list_namespaced_custom_object(*GADGETS))["items"] == []


async def test_its_watch_sees_what_happens(library: client.ApiClient) -> None:
    core = client.CoreV1Api(library)
    names = []
    for name in ("one", "two"):
        await core.create_namespaced_config_map("default", {"metadata": {"name": name}})
    async with watch.Watch() as watching:
        async for event in watching.stream(core.list_namespaced_config_map, "default", timeout_seconds=10):
            names.append((event["type"], event["object"].metadata.name))
            if len(names) == 2:
                await core.delete_namespaced_config_map("one", "default")
            if len(names) == 3:
                break
    assert names == [("ADDED", "one"), ("ADDED", "two"), ("DELETED", "one")]


async def test_leases_are_held_by_version(library: client.ApiClient) -> None:
    leases = client.CoordinationV1Api(library)
    body = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15}}
    lease = await leases.create_namespaced_lease("default", body)
    lease.spec.holder_identity = "two"
    await leases.replace_namespaced_lease("leader", "default", lease)
    with pytest.raises(client.ApiException) as stale:
        await leases.replace_namespaced_lease("leader", "default", lease)
    assert stale.value.status == 409
