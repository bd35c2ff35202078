"""The definitions in `tests.definitions`: each is served, takes an object of its kind, and holds it to its types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes_asyncio import client, config

from tests.cluster_under_test import ClusterUnderTest, sandbox_cluster
from tests.definitions import NAMES, define, read

POD_SPEC = {"containers": [{"name": "web", "image": "web:1"}, {"name": "proxy", "image": "proxy:1", "tty": True}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD_SPEC}
WORKLOAD = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}
SOURCE = {"from": {"kind": "ImageStreamTag", "name": "base:1"}}
IMAGE = "/spec/template/spec/containers/0/image"
SPECS: dict[str, dict[str, Any]] = {
    "buildconfigs.build.openshift.io": {
        "strategy": {"type": "Source", "sourceStrategy": SOURCE},
        "triggers": [{"type": "ImageChange", "imageChange": {}}],
    },
    "buildruns.shipwright.io": {"build": {"name": "web"}, "paramValues": [{"name": "base", "value": "base:1"}]},
    "builds.shipwright.io": {"strategy": {"name": "buildah"}, "output": {"image": "registry.example.com/web"}},
    "clonesets.apps.kruise.io": WORKLOAD,
    "deploymentconfigs.apps.openshift.io": {
        "replicas": 1,
        "selector": {"app": "web"},
        "template": TEMPLATE,
        "triggers": [
            {"type": "ImageChange", "imageChangeParams": {"automatic": True, "containerNames": ["web"], **SOURCE}}
        ],
    },
    "pipelineruns.tekton.dev": {"pipelineRef": {"name": "web"}, "params": [{"name": "base", "value": "base:1"}]},
    "pipelines.tekton.dev": {"params": [{"name": "base", "type": "string"}], "tasks": [{"name": "build"}]},
    "rollouts.argoproj.io": WORKLOAD,
    "services.serving.knative.dev": {"template": TEMPLATE},
    "statefulsets.apps.kruise.io": WORKLOAD,
}
WITH_PODS = [name for name, spec in SPECS.items() if "template" in spec]
WRONG = {
    "buildconfigs.build.openshift.io": "/spec/triggers/0/imageChange/paused",
    "buildruns.shipwright.io": "/spec/build/name",
    "builds.shipwright.io": "/spec/output/image",
    "deploymentconfigs.apps.openshift.io": "/spec/triggers/0/imageChangeParams/lastTriggeredImage",
    "pipelineruns.tekton.dev": "/spec/pipelineRef/name",
    "pipelines.tekton.dev": "/spec/params/0/name",
}


@asynccontextmanager
async def objects(
    cluster: ClusterUnderTest, name: str
) -> AsyncIterator[tuple[client.CustomObjectsApi, dict[str, Any]]]:
    """Define a kind and make one object of it; yield the client, and what names the object to it."""
    await define(cluster, name)
    spec = read(name)["spec"]
    at = {"group": spec["group"], "version": spec["versions"][0]["name"], "plural": spec["names"]["plural"]}
    obj = {
        "apiVersion": f"{at['group']}/{at['version']}",
        "kind": spec["names"]["kind"],
        "metadata": {"name": "web"},
        "spec": SPECS[name],
    }
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        custom = client.CustomObjectsApi(api)
        at["namespace"] = await cluster.namespace("definition")
        await custom.create_namespaced_custom_object(**at, body=obj)
        yield custom, {**at, "name": "web"}


async def patched(custom: client.CustomObjectsApi, at: dict[str, Any], *operations: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await custom.patch_namespaced_custom_object(
        **at, body=list(operations), _content_type="application/json-patch+json"
    )
    return found


def test_every_definition_has_an_object_here() -> None:
    assert set(SPECS) == set(NAMES)
    assert set(WRONG) | set(WITH_PODS) == set(NAMES)
    assert [read(name)["metadata"]["name"] for name in NAMES] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_an_object_keeps_what_it_was_given(cluster: ClusterUnderTest, name: str) -> None:
    async with objects(cluster, name) as (custom, at):
        assert (await custom.get_namespaced_custom_object(**at))["spec"] == SPECS[name]


@pytest.mark.parametrize("name", WITH_PODS)
async def test_the_image_of_a_container_can_be_patched(cluster: ClusterUnderTest, name: str) -> None:
    async with objects(cluster, name) as (custom, at):
        test = {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "web"}
        changed = await patched(custom, at, test, {"op": "replace", "path": IMAGE, "value": "web:2"})
        assert changed["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
        assert changed["metadata"]["generation"] == 2
        with pytest.raises(client.ApiException) as stale:
            await patched(custom, at, {**test, "value": "other"})
        assert stale.value.status == 422


@pytest.mark.parametrize("name", NAMES)
async def test_a_value_of_the_wrong_type_is_refused(cluster: ClusterUnderTest, name: str) -> None:
    async with objects(cluster, name) as (custom, at):
        for path in {WRONG.get(name, IMAGE), IMAGE if name in WITH_PODS else WRONG[name]}:
            with pytest.raises(client.ApiException) as refused:
                await patched(custom, at, {"op": "add", "path": path, "value": {"a": "b"}})
            assert refused.value.status == 422
            assert "must be of type" in refused.value.body


async def test_what_is_served_already_is_left_alone(cluster: ClusterUnderTest) -> None:
    await define(cluster, *NAMES)
    await define(cluster, *NAMES)


async def test_the_sandboxs_own_types_are_left_alone(tmp_path: Any) -> None:
    async with sandbox_cluster(tmp_path, openshift=True) as cluster:
        await define(cluster, "deploymentconfigs.apps.openshift.io")
        async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
            found = await client.ApiextensionsV1Api(api).list_custom_resource_definition()
        assert [each.metadata.name for each in found.items] == ["imagestreams.image.openshift.io"]
